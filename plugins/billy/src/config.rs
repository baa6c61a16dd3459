use schemars::JsonSchema;
use serde::Deserialize;

/// The installation's settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The company's id at Billy.
    #[schemars(length(min = 1))]
    pub organization_id: String,
    /// The product of lines that name none. Its sales tax ruleset decides the VAT.
    #[serde(default)]
    pub product_id: Option<String>,
    /// The currency of invoices that name none.
    #[serde(default = "danish_kroner")]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// Days until an invoice is due, where the command says nothing.
    #[serde(default = "eight_days")]
    #[schemars(range(max = 365))]
    pub payment_terms_days: u16,
    /// Whether unit prices exclude or include VAT.
    #[serde(default)]
    pub tax_mode: TaxMode,
    /// The account that payments go to, where the command names none; it must be enabled for payments at Billy.
    #[serde(default)]
    pub payment_account_id: Option<String>,
    /// Whether the first poll reports what Billy already has. Otherwise it only remembers it.
    #[serde(default)]
    pub emit_existing: bool,
}

/// Whether unit prices exclude or include VAT.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaxMode {
    /// VAT is added.
    #[default]
    Excl,
    /// VAT is inside.
    Incl,
}

impl TaxMode {
    /// As Billy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Excl => "excl",
            Self::Incl => "incl",
        }
    }
}

fn danish_kroner() -> String {
    "DKK".to_owned()
}

fn eight_days() -> u16 {
    8
}
