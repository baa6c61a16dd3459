//! Lines, tax and totals of what is sold: the part that invoices and sales receipts share.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    amount::{Cents, product},
    company::{Books, reference, text},
    errors::Fault,
    record::Kind,
};

/// The longest number of a document, and the longest note.
const LONGEST_NUMBER: usize = 21;
const LONGEST_NOTE: usize = 4_000;

/// The home currency; another one needs the multicurrency setting, which this company does not have.
pub(crate) const CURRENCY: &str = "DKK";

/// Whether amounts exclude tax, contain it, or have none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TaxMode {
    Excluded,
    Inclusive,
    None,
}

/// Checks a sale and computes what QuickBooks adds to it: line ids, the subtotal, tax and total.
pub(crate) fn complete(
    books: &Books,
    kind: Kind,
    own_id: Option<&str>,
    sale: &mut Map<String, Value>,
) -> Result<Cents, Fault> {
    check_references(books, kind, sale)?;
    check_texts(books, kind, own_id, sale)?;
    let mode = tax_mode(sale)?;
    let lines = match sale.get("Line") {
        Some(Value::Array(lines)) if !lines.is_empty() => lines.clone(),
        _ => return Err(Fault::missing("Line")),
    };
    let mut done = Vec::new();
    let mut by_code: BTreeMap<String, Cents> = BTreeMap::new();
    let mut net = Cents::ZERO;
    for line in lines.iter().filter(|line| line["DetailType"] != "SubTotalLineDetail") {
        let (line, code, amount) = complete_line(books, mode, line, done.len() + 1)?;
        *by_code.entry(code).or_default() += amount;
        net += amount;
        done.push(line);
    }
    let mut tax = Cents::ZERO;
    let mut details = Vec::new();
    for (code, amount) in by_code {
        let (rate_id, rate) = rate_of(books, &code);
        let part = match mode {
            TaxMode::Excluded => amount.share(rate),
            TaxMode::Inclusive => amount - amount.net_of(rate),
            TaxMode::None => Cents::ZERO,
        };
        if mode == TaxMode::Inclusive {
            net -= part;
        }
        tax += part;
        details.push(json!({"Amount": part.to_json(), "DetailType": "TaxLineDetail", "TaxLineDetail": {
            "TaxRateRef": {"value": rate_id}, "PercentBased": true, "TaxPercent": rate as f64 / 100.0,
            "NetAmountTaxable": (if mode == TaxMode::Inclusive { amount - part } else { amount }).to_json(),
        }}));
    }
    done.push(json!({"Amount": net.to_json(), "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}));
    let total = net + tax;
    sale.insert("Line".to_owned(), Value::Array(done));
    sale.insert("TxnTaxDetail".to_owned(), json!({"TotalTax": tax.to_json(), "TaxLine": details}));
    sale.insert("TotalAmt".to_owned(), total.to_json());
    sale.insert("CurrencyRef".to_owned(), json!({"value": CURRENCY, "name": "Danish Krone"}));
    Ok(total)
}

fn check_references(books: &Books, kind: Kind, sale: &mut Map<String, Value>) -> Result<(), Fault> {
    match reference(sale, "CustomerRef") {
        Some(id) => {
            let customer = books.find(Kind::Customer, id).ok_or_else(|| Fault::no_reference("CustomerRef", id))?;
            if customer.body.get("Active") == Some(&Value::Bool(false)) {
                return Err(Fault::not_found(&format!("Customer {id}")));
            }
            let name = text(&customer.body, "DisplayName").unwrap_or_default();
            sale.insert("CustomerRef".to_owned(), json!({"value": id, "name": name}));
        }
        None if kind == Kind::Invoice => return Err(Fault::missing("CustomerRef")),
        None => {}
    }
    for (name, kind) in [("DepositToAccountRef", Kind::Account), ("PaymentMethodRef", Kind::PaymentMethod)] {
        if let Some(id) = reference(sale, name) {
            books.find(kind, id).ok_or_else(|| Fault::no_reference(name, id))?;
        }
    }
    match reference(sale, "CurrencyRef") {
        Some(currency) if currency != CURRENCY => {
            Err(Fault::business("Multicurrency must be switched on to use another currency."))
        }
        _ => Ok(()),
    }
}

fn check_texts(books: &Books, kind: Kind, own_id: Option<&str>, sale: &Map<String, Value>) -> Result<(), Fault> {
    for (name, longest) in [("DocNumber", LONGEST_NUMBER), ("PrivateNote", LONGEST_NOTE)] {
        if text(sale, name).is_some_and(|text| text.chars().count() > longest) {
            let detail = format!("{name} is longer than {longest} characters.");
            return Err(
                Fault::invalid("2050", "String length is either shorter or longer than supported", detail).at(name)
            );
        }
    }
    for name in ["TxnDate", "DueDate"] {
        if text(sale, name).is_some_and(|date| date.parse::<jiff::civil::Date>().is_err()) {
            return Err(Fault::invalid("2010", "Request has invalid or unsupported property", name).at(name));
        }
    }
    let Some(number) = text(sale, "DocNumber") else { return Ok(()) };
    let taken = books.table(kind).iter().find(|other| {
        !other.deleted && Some(other.id.as_str()) != own_id && text(&other.body, "DocNumber") == Some(number)
    });
    match taken {
        Some(other) => {
            let detail = format!(
                "Duplicate Document Number Error : You must specify a different number. This number \
                                  has already been used. DocNumber={number} is assigned to TxnId={}",
                other.id
            );
            Err(Fault::invalid("6140", "Duplicate Document Number Error", detail))
        }
        None => Ok(()),
    }
}

fn tax_mode(sale: &Map<String, Value>) -> Result<TaxMode, Fault> {
    match sale.get("GlobalTaxCalculation").and_then(Value::as_str) {
        None | Some("TaxExcluded") => Ok(TaxMode::Excluded),
        Some("TaxInclusive") => Ok(TaxMode::Inclusive),
        Some("NotApplicable") => Ok(TaxMode::None),
        Some(_) => Err(Fault::bad_enum("GlobalTaxCalculation")),
    }
}

/// A line with its id, its tax code, and its amount as given.
fn complete_line(books: &Books, mode: TaxMode, line: &Value, number: usize) -> Result<(Value, String, Cents), Fault> {
    if line["DetailType"] != "SalesItemLineDetail" {
        return Err(Fault::bad_enum("DetailType"));
    }
    let detail = line
        .get("SalesItemLineDetail")
        .and_then(Value::as_object)
        .ok_or_else(|| Fault::missing("SalesItemLineDetail"))?;
    let item = reference(detail, "ItemRef").unwrap_or(super::ITEM);
    let item = books.find(Kind::Item, item).ok_or_else(|| Fault::no_reference("ItemRef", item))?;
    let amount = line.get("Amount").ok_or_else(|| Fault::missing("Line.Amount"))?;
    let amount = Cents::read(amount).ok_or_else(|| Fault::invalid("2010", "Invalid number", "Line.Amount"))?;
    if let (Some(quantity), Some(price)) = (detail.get("Qty"), detail.get("UnitPrice")) {
        let computed = product(quantity, price).ok_or_else(|| Fault::invalid("2010", "Invalid number", "Qty"))?;
        if computed != amount {
            let detail = "Amount calculation incorrect in the request. Amount is not equal to UnitPrice * Qty.";
            return Err(Fault::invalid("6070", "Amount calculation incorrect in the request", detail));
        }
    }
    let code = match (mode, reference(detail, "TaxCodeRef")) {
        (TaxMode::None, _) => super::TAX_0.to_owned(),
        (_, Some(code)) if books.find(Kind::TaxCode, code).is_some() => code.to_owned(),
        (_, Some(code)) => return Err(Fault::no_reference("TaxCodeRef", code)),
        (_, None) => {
            return Err(Fault::business("Make sure all your transactions have a VAT rate before you save."));
        }
    };
    let mut line = line.clone();
    line["Id"] = json!(number.to_string());
    line["LineNum"] = json!(number);
    line["Amount"] = amount.to_json();
    line["SalesItemLineDetail"]["ItemRef"] = json!({"value": item.id, "name": text(&item.body, "Name")});
    line["SalesItemLineDetail"]["TaxCodeRef"] = json!({"value": code});
    if mode == TaxMode::Inclusive {
        let net = amount.net_of(rate_of(books, &code).1);
        line["SalesItemLineDetail"]["TaxInclusiveAmt"] = amount.to_json();
        line["Amount"] = net.to_json();
    }
    Ok((line, code, amount))
}

/// The rate behind a tax code, and its value in basis points.
fn rate_of(books: &Books, code: &str) -> (String, i64) {
    let rate = books.find(Kind::TaxCode, code).and_then(|code| {
        code.body.get("SalesTaxRateList")?.get("TaxRateDetail")?.get(0)?.get("TaxRateRef")?.get("value")?.as_str()
    });
    let value = rate.and_then(|rate| books.find(Kind::TaxRate, rate)?.body.get("RateValue")?.as_f64());
    (rate.unwrap_or_default().to_owned(), value.map_or(0, |percent| (percent * 100.0).round() as i64))
}
