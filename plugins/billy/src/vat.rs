use serde_json::Value;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;

use crate::client::{get, list, read, segment};
use crate::config::Config;
use crate::line::{Line, basis_points};
use crate::model::{records, text};

/// How many products are asked for in one run.
const PRODUCTS: usize = 20;

/// The rates that Billy's own records give, asked for once in a run.
pub struct Rates<'a> {
    ctx: &'a Ctx<'a, Config>,
    /// By ruleset; none where the rate depends on more than the ruleset.
    rulesets: SortedMap<String, Option<i64>>,
    /// By product; none where it cannot be said.
    products: SortedMap<String, Option<i64>>,
}

impl<'a> Rates<'a> {
    /// Reads rates and rulesets.
    pub fn load(ctx: &'a Ctx<'a, Config>) -> Result<Self, PluginError> {
        let all = |path: &str| read(list(ctx, path).query("pageSize", "1000").send()?);
        let answer = all("/taxRates")?;
        let rates = records(&answer, "taxRate", "taxRates").into_iter();
        let rates: SortedMap<String, i64> =
            rates.filter_map(|rate| Some((text(rate, "id")?, basis_points(rate.get("rate")?)?))).collect();
        let answer = all("/salesTaxRulesets")?;
        let of_ruleset = |ruleset: &Value| {
            // Rules look at the customer's country and kind; only a ruleset without any is the same for everybody.
            let has_rules = ruleset.get("rules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            let rate = text(ruleset, "fallbackTaxRateId").and_then(|id| rates.get(&id).copied());
            if has_rules { None } else { rate }
        };
        let rulesets = records(&answer, "salesTaxRuleset", "salesTaxRulesets").into_iter();
        let rulesets = rulesets.filter_map(|ruleset| Some((text(ruleset, "id")?, of_ruleset(ruleset))));
        Ok(Self { ctx, rulesets: rulesets.collect(), products: SortedMap::new() })
    }

    /// The rate of a line in basis points: that of its product's ruleset, else the one that Billy used. None where
    /// neither can be said.
    pub fn of(&mut self, line: &Line) -> Result<Option<i64>, PluginError> {
        let Some(product) = &line.product_id else { return Ok(line.rate) };
        if !self.products.contains_key(product) {
            if self.products.len() >= PRODUCTS {
                return Ok(line.rate);
            }
            let rate = self.of_product(product)?;
            self.products.insert(product.clone(), rate);
        }
        Ok(self.products.get(product).copied().flatten().or(line.rate))
    }

    fn of_product(&self, id: &str) -> Result<Option<i64>, PluginError> {
        let response = get(self.ctx, &format!("/products/{}", segment(id))).send()?;
        if response.status == 404 {
            return Ok(None);
        }
        let answer = read(response)?;
        let product = records(&answer, "product", "products").into_iter().next();
        let ruleset = product.and_then(|product| text(product, "salesTaxRulesetId"));
        Ok(ruleset.and_then(|ruleset| self.rulesets.get(&ruleset).copied().flatten()))
    }
}
