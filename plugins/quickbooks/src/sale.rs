use serde_json::{Value, json};
use switchyard_event_types::invoice_command::Line;
use switchyard_sdk::json::ObjectText;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::date;

use crate::client::{query, quoted};
use crate::config::{Config, TaxMode};
use crate::decimal::Decimal;
use crate::model;

/// The longest number of a document that QuickBooks takes.
const LONGEST_NUMBER: usize = 21;

/// How many documents of one customer and day are searched for our reference.
const SEARCHED: usize = 200;

/// What invoices and sales receipts have in common, as a command says it.
pub struct Sale<'a> {
    /// The customer's id.
    pub customer_id: &'a str,
    /// Where mail goes.
    pub email: Option<&'a str>,
    /// What is sold.
    pub lines: &'a [Line],
    /// The currency, where the command says one.
    pub currency: Option<&'a str>,
    /// The day, where the command says one.
    pub entry_date: Option<&'a str>,
    /// The caller's own reference.
    pub reference: Option<&'a str>,
}

impl Sale<'_> {
    /// The day it is dated.
    pub fn date(&self, ctx: &Ctx<Config>) -> String {
        self.entry_date.map_or_else(|| date(ctx.time()), str::to_owned)
    }

    /// The number that is asked for, where the config takes it from the reference.
    pub fn number(&self, config: &Config) -> Option<&str> {
        let fits = |reference: &&str| (1..=LONGEST_NUMBER).contains(&reference.chars().count());
        self.reference.filter(|_| config.number_from_reference).filter(fits)
    }

    /// The body to send, with more members. Amounts in it are numbers that never were floats.
    pub fn body(&self, ctx: &Ctx<Config>, more: Value) -> Result<String, PluginError> {
        let config = &ctx.config;
        let mut body = ObjectText::new();
        let mut put = |name: &str, value: Value| body.member(name, &value);
        put("CustomerRef", reference(self.customer_id));
        put("TxnDate", json!(self.date(ctx)));
        put("GlobalTaxCalculation", json!(config.tax_mode.as_str()));
        put("PrivateNote", json!(model::note(ctx.reference())));
        if let Some(number) = self.number(config) {
            put("DocNumber", json!(number));
        }
        if let Some(theirs) = self.reference {
            put("CustomerMemo", reference(theirs));
        }
        if let Some(email) = self.email {
            put("BillEmail", json!({ "Address": email }));
        }
        if let Some(currency) = self.currency.filter(|currency| *currency != config.currency) {
            put("CurrencyRef", reference(currency));
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            put(name, value.clone());
        }
        let lines = self.lines.iter().map(|line| body_line(config, line)).collect::<Result<Vec<_>, _>>()?;
        body.verbatim("Line", &format!("[{}]", lines.join(",")));
        Ok(body.finish())
    }

    /// The record that carries this run's reference, among the customer's newest of the day.
    pub fn find(&self, ctx: &Ctx<Config>, entity: &str) -> Result<Option<Value>, PluginError> {
        find(ctx, entity, self.customer_id, &self.date(ctx))
    }
}

/// The customer's record of a day that carries this run's reference.
pub fn find(ctx: &Ctx<Config>, entity: &str, customer_id: &str, date: &str) -> Result<Option<Value>, PluginError> {
    let rest = format!(
        "where CustomerRef = {} and TxnDate = {} orderby MetaData.CreateTime desc maxresults {SEARCHED}",
        quoted(customer_id),
        quoted(date)
    );
    Ok(query(ctx, entity, &rest)?.into_iter().find(|record| model::is_ours(ctx, record)))
}

/// A reference as QuickBooks writes it.
pub fn reference(id: &str) -> Value {
    json!({ "value": id })
}

fn body_line(config: &Config, line: &Line) -> Result<String, PluginError> {
    let bad = |what: &str| PluginError::reject(Reason::BadData, "bad_line", format!("A line's {what}."));
    let quantity = line.quantity_text().and_then(|text| Decimal::parse(&text));
    let quantity = quantity.ok_or_else(|| bad("quantity is no decimal number"))?;
    let price = Decimal::parse(&line.unit_price).ok_or_else(|| bad("unit price is no decimal number"))?;
    let amount = quantity.times(&price).ok_or_else(|| bad("amount is too large"))?;
    let tax_code = line.tax_code.as_deref().or(config.tax_code.as_deref()).filter(|_| config.tax_mode != TaxMode::None);
    let mut detail = ObjectText::new();
    if let Some(item) = line.product_id.as_deref().or(config.item_id.as_deref()) {
        detail.member("ItemRef", &reference(item));
    }
    detail.verbatim("Qty", &quantity.text());
    detail.verbatim("UnitPrice", &price.text());
    if let Some(code) = tax_code {
        detail.member("TaxCodeRef", &reference(code));
    }
    let mut text = ObjectText::new();
    text.verbatim("Amount", &Decimal::from_minor(amount).text());
    text.member("Description", &json!(line.description));
    text.member("DetailType", &json!("SalesItemLineDetail"));
    text.verbatim("SalesItemLineDetail", &detail.finish());
    Ok(text.finish())
}
