use schemars::JsonSchema;
use serde::Deserialize;
use switchyard_sdk::sorted::SortedMap;

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
    /// The products of lines that name a tax code and no product: `{"exempt":"PROD0"}`.
    #[serde(default)]
    pub tax_products: SortedMap<String, String>,
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
    /// The subject of e-mails with an invoice, where the command names none; `{number}` is the invoice's.
    #[serde(default = "subject")]
    #[schemars(length(min = 1, max = 250))]
    pub email_subject: String,
    /// Their text, where the command names none.
    #[serde(default = "message")]
    #[schemars(length(min = 1, max = 10_000))]
    pub email_message: String,
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

fn subject() -> String {
    "Invoice {number}".to_owned()
}

fn message() -> String {
    "Please find our invoice {number}.".to_owned()
}

fn eight_days() -> u16 {
    8
}
