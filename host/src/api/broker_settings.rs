//! Brokers of tenants, as endpoints and sources name them: every fault names its field.

use super::{
    Api,
    problem::{Answer, Problem},
};
use crate::{
    broker::BrokerAddress,
    connection::vault::Place,
    directory::view::TenantView,
    store::registry::{ExchangeRow, QueueRow},
};

/// The longest name that the protocol allows.
const MAX_NAME: usize = 255;

/// A broker's URL that may be called: how it is shown, and the whole of it sealed. The addresses behind a name are judged
/// at every connection.
pub(super) fn sealed_broker(
    api: &Api,
    tenant: &TenantView,
    place: Place<'_>,
    field: &str,
    url: &str,
) -> Answer<(String, Vec<u8>)> {
    let address = BrokerAddress::parse(url).map_err(|error| Problem::field(field, error.to_string()))?;
    let judged = api.hub.client.policy().check_broker(&address);
    judged.map_err(|error| Problem::field(field, error.to_string()))?;
    Ok((address.to_string(), api.hub.vault.seal(&tenant.key, place, url.as_bytes())?))
}

/// Where an endpoint of kind `amqp` publishes.
pub(super) fn checked_exchange(
    url: Vec<u8>,
    exchange: Option<String>,
    routing_key: Option<String>,
) -> Answer<ExchangeRow> {
    let Some(name) = exchange else {
        return Err(Problem::field("exchange", "an endpoint of kind `amqp` needs one; `\"\"` is the default exchange"));
    };
    let name = checked_name("exchange", name)?;
    let routing_key = routing_key.map(|key| checked_name("routing_key", key)).transpose()?;
    if name.is_empty() && routing_key.is_none() {
        let text = "the default exchange routes by the name of a queue: give it as `routing_key`";
        return Err(Problem::field("routing_key", text));
    }
    Ok(ExchangeRow { url, name, routing_key })
}

/// An endpoint over HTTP has neither exchange nor routing key.
pub(super) fn no_exchange(exchange: Option<String>, routing_key: Option<String>) -> Answer<Option<ExchangeRow>> {
    for (field, given) in [("exchange", exchange.is_some()), ("routing_key", routing_key.is_some())] {
        if given {
            return Err(Problem::field(field, "only an endpoint of kind `amqp` has one; leave it out"));
        }
    }
    Ok(None)
}

/// The queue that feeds a source.
pub(super) fn checked_queue(
    api: &Api,
    tenant: &TenantView,
    place: Place<'_>,
    field: &str,
    url: &str,
    queue: String,
) -> Answer<QueueRow> {
    let name = checked_name(&format!("{field}.queue"), queue)?;
    if name.is_empty() {
        return Err(Problem::field(format!("{field}.queue"), "name the queue that the hub shall consume"));
    }
    let (shown_url, url) = sealed_broker(api, tenant, place, &format!("{field}.url"), url)?;
    Ok(QueueRow { url, shown_url, name })
}

fn checked_name(field: &str, name: String) -> Answer<String> {
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Problem::field(field, format!("at most {MAX_NAME} bytes without control characters")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(problem: &Problem) -> String {
        serde_json::to_value(problem).unwrap()["errors"][0]["field"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn an_exchange_is_checked_with_its_key() {
        let check = |exchange: Option<&str>, key: Option<&str>| {
            checked_exchange(Vec::new(), exchange.map(str::to_owned), key.map(str::to_owned))
        };
        assert!(check(Some("orders"), None).is_ok() && check(Some(""), Some("a-queue")).is_ok());
        assert_eq!(field(&check(None, None).unwrap_err()), "exchange");
        assert_eq!(field(&check(Some(""), None).unwrap_err()), "routing_key");
        assert_eq!(field(&check(Some(&"x".repeat(256)), None).unwrap_err()), "exchange");
        assert_eq!(field(&check(Some("x"), Some("a\nb")).unwrap_err()), "routing_key");
    }

    #[test]
    fn an_endpoint_over_http_has_no_exchange() {
        assert!(no_exchange(None, None).is_ok());
        assert_eq!(field(&no_exchange(Some("x".to_owned()), None).unwrap_err()), "exchange");
        assert_eq!(field(&no_exchange(None, Some("x".to_owned())).unwrap_err()), "routing_key");
    }
}
