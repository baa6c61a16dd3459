use schemars::JsonSchema;
use serde::Deserialize;
use switchyard_sdk::PluginError;

/// The installation's settings. All fields may be absent where a request to an app's source is judged: whose company it
/// is about stands in the request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["realm_id"]))]
pub struct Config {
    /// The company's id at Intuit: the realm, which the login names.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9]{1,20}$"))]
    pub realm_id: String,
    /// The item of lines that name none; QuickBooks takes its own default where this is absent too.
    #[serde(default)]
    pub item_id: Option<String>,
    /// The tax code of lines that name none. Outside the United States QuickBooks takes no line without one.
    #[serde(default)]
    pub tax_code: Option<String>,
    /// Whether unit prices exclude or include VAT, or there is none.
    #[serde(default)]
    pub tax_mode: TaxMode,
    /// The company's home currency. Another one in a command needs the multicurrency setting of QuickBooks.
    #[serde(default = "danish_kroner")]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// Days until an invoice is due, where the command says nothing.
    #[serde(default = "eight_days")]
    #[schemars(range(max = 365))]
    pub payment_terms_days: u16,
    /// The account that payments and sales receipts go to, where the command names none.
    #[serde(default)]
    pub deposit_account_id: Option<String>,
    /// The payment method, where the command names none.
    #[serde(default)]
    pub payment_method_id: Option<String>,
    /// Uses the `reference` of a command as the document's number, up to 21 characters. Otherwise QuickBooks numbers.
    #[serde(default)]
    pub number_from_reference: bool,
}

/// Whether unit prices exclude or include VAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaxMode {
    /// VAT is added.
    #[default]
    Excl,
    /// VAT is inside.
    Incl,
    /// There is none.
    None,
}

impl TaxMode {
    /// As QuickBooks writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Excl => "TaxExcluded",
            Self::Incl => "TaxInclusive",
            Self::None => "NotApplicable",
        }
    }
}

impl Config {
    /// Whether it names a company, without which nothing can be asked.
    pub fn check(&self) -> Result<(), PluginError> {
        if !self.realm_id.is_empty() && self.realm_id.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(())
        } else {
            Err(PluginError::bad_config("realm_id", "set the company's id: the digits that Intuit calls realm id."))
        }
    }
}

fn danish_kroner() -> String {
    "DKK".to_owned()
}

fn eight_days() -> u16 {
    8
}
