use switchyard_sdk::PluginError;

/// A part of the text that a sender signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Itself.
    Text(&'a str),
    /// The exact body.
    Body,
    /// The time stamp as it was received.
    Timestamp,
    /// The request's id.
    Id,
    /// The public URL with its query.
    Url,
}

/// Splits a template such as `v0:{timestamp}:{body}`. A name in braces that is none of the four is a mistake in the
/// config and is named; braces around anything else are text.
pub fn parse(template: &str) -> Result<Vec<Part<'_>>, PluginError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed."))?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Timestamp,
            "id" => Part::Id,
            "url" => Part::Url,
            _ => return Err(wrong("only {body}, {timestamp}, {id} and {url} may stand in braces.")),
        });
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    if parts.iter().filter(|part| **part == Part::Body).count() == 1 {
        Ok(parts)
    } else {
        Err(wrong("it must name {body} once, or the body would not be proven."))
    }
}

fn wrong(message: &str) -> PluginError {
    PluginError::bad_config("scheme.signed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_into_its_parts() {
        let parts = parse("v0:{timestamp}:{body}").unwrap();
        assert_eq!(parts, [Part::Text("v0:"), Part::Timestamp, Part::Text(":"), Part::Body]);
        assert_eq!(parse("{url}{body}").unwrap(), [Part::Url, Part::Body]);
    }

    #[test]
    fn a_template_that_proves_no_body_names_the_config_field() {
        for template in ["", "{timestamp}", "{body}{body}", "{bdy}", "{body"] {
            let error = parse(template).unwrap_err();
            assert!(error.to_string().contains("`scheme.signed`"), "{template}: {error}");
        }
    }
}
