//! `connections` and `secrets`: what the plugin wants to reach.

use std::collections::HashSet;

use url::Url;

use super::{Findings, names};
use crate::plugin::model::{ConnectionKind, ConnectionSpec, Idempotency, Manifest, SecretKind, SecretSpec};

pub(super) fn check(manifest: &Manifest, findings: &mut Findings) {
    findings.list_length("connections", manifest.connections.len());
    findings.list_length("secrets", manifest.secrets.len());
    let mut slots = HashSet::new();
    for (index, spec) in manifest.connections.iter().enumerate() {
        let field = format!("connections[{index}]");
        findings.name(&format!("{field}.name"), &spec.name);
        findings.unique(&format!("{field}.name"), &spec.name, &mut slots);
        connection(spec, &field, findings);
    }
    for (index, spec) in manifest.secrets.iter().enumerate() {
        let field = format!("secrets[{index}]");
        findings.name(&format!("{field}.name"), &spec.name);
        findings.unique(&format!("{field}.name"), &spec.name, &mut slots);
        secret(spec, &field, findings);
    }
}

fn connection(spec: &ConnectionSpec, field: &str, findings: &mut Findings) {
    findings.description(&format!("{field}.description"), &spec.description);
    if let Some((member, problem, fix)) = spec.extensions_problem() {
        findings.add(format!("{field}.extensions{member}"), problem, fix);
    }
    kind(&spec.kind, &format!("{field}.kind"), findings);
    base_url(&spec.base_url, &format!("{field}.base-url"), findings);
    if spec.methods.is_empty() {
        findings.add(format!("{field}.methods"), "it is empty", "list the methods that the plugin uses");
    }
    for method in &spec.methods {
        let token = method.as_str();
        let fits = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        if !(1..=32).contains(&token.len()) || !token.bytes().all(fits) {
            let problem = format!("`{}` is no method", names::shown(token));
            findings.add(format!("{field}.methods"), problem, "use an upper-case token of at most 32 letters");
        }
    }
    let field = format!("{field}.idempotency");
    match &spec.idempotency {
        Idempotency::Header(name) => header(name, &field, findings),
        Idempotency::Query(name) if name.is_empty() || name.contains(['&', '=', '#', '?', ' ']) => {
            let problem = format!("`{}` is no query parameter", names::shown(name));
            findings.add(field, problem, "name the parameter that carries the key");
        }
        _ => {}
    }
}

fn kind(kind: &ConnectionKind, field: &str, findings: &mut Findings) {
    match kind {
        ConnectionKind::Header(name) | ConnectionKind::Hmac(name) => header(name, field, findings),
        ConnectionKind::Oauth2 { authorize_url, token_url, .. } => {
            https(authorize_url, &format!("{field}.authorize-url"), findings);
            https(token_url, &format!("{field}.token-url"), findings);
        }
        ConnectionKind::GoogleServiceAccount(scopes) if scopes.is_empty() => {
            findings.add(field, "it has no scopes", "list the scopes that the plugin needs");
        }
        ConnectionKind::Other(name) => {
            let problem = format!("this host does not know the kind `{}`", names::shown(name));
            let fix = "use header, basic, bearer, oauth2, google-service-account or hmac";
            findings.add(field, problem, fix);
        }
        ConnectionKind::Basic | ConnectionKind::Bearer | ConnectionKind::GoogleServiceAccount(_) => {}
    }
}

fn secret(spec: &SecretSpec, field: &str, findings: &mut Findings) {
    findings.description(&format!("{field}.description"), &spec.description);
    let field = format!("{field}.kind");
    match &spec.kind {
        SecretKind::Jwt { issuers, jwks_url } => {
            https(jwks_url, &format!("{field}.jwks-url"), findings);
            if issuers.is_empty() {
                findings.add(format!("{field}.issuers"), "it is empty", "list the accepted values of `iss`");
            }
        }
        SecretKind::Other(name) => {
            let problem = format!("this host does not know the kind `{}`", names::shown(name));
            findings.add(field, problem, "use mac-key, token, jwt or generated");
        }
        SecretKind::MacKey(_) | SecretKind::Token | SecretKind::Generated => {}
    }
}

fn header(name: &str, field: &str, findings: &mut Findings) {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        let problem = format!("`{}` is no header name", names::shown(name));
        findings.add(field, problem, "name the header, such as `x-api-key`");
    }
}

fn base_url(text: &str, field: &str, findings: &mut Findings) {
    https(text, field, findings);
    if text.ends_with('/') {
        findings.add(field, "it ends in `/`, and so would every path begin with two", "leave the last `/` out");
    }
}

fn https(text: &str, field: &str, findings: &mut Findings) {
    let problem = match Url::parse(text) {
        Err(error) => format!("`{}` is no URL: {error}", names::shown(text)),
        Ok(url) if url.scheme() != "https" => "it is not https".to_owned(),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "it holds a credential".to_owned(),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "it has a query or a fragment".to_owned(),
        Ok(_) => return,
    };
    findings.add(field, problem, "write it as `https://host` with an optional path");
}
