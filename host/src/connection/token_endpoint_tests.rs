use super::*;

fn answer(status: u16, body: &str) -> Result<Obtained, TokenError> {
    read(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
}

#[test]
fn a_token_is_read_with_what_providers_add() {
    for body in [
        r#"{"access_token":"a","expires_in":3599,"scope":"x y","token_type":"Bearer"}"#,
        r#"{"token_type":"bearer","access_token":"a","expires_in":3600,"refresh_token":"r","x_refresh_token_expires_in":8726400}"#,
    ] {
        let obtained = answer(200, body).map_err(|error| error.to_string()).ok().unwrap();
        assert_eq!(obtained.access_token.expose_secret(), "a");
        assert!(obtained.lifetime.as_secs() >= 3599);
    }
}

#[test]
fn the_end_of_a_login_is_read_where_a_provider_tells_it() {
    let lifetime = |body: &str| answer(200, body).ok().unwrap().login_lifetime.map(|lifetime| lifetime.as_secs());
    let telling = |field: &str| format!(r#"{{"token_type":"bearer","access_token":"a",{field}}}"#);
    for name in ["x_refresh_token_expires_in", "refresh_token_expires_in", "refresh_expires_in"] {
        assert_eq!(lifetime(&telling(&format!("\"{name}\":8726400"))), Some(8_726_400), "{name}");
    }
    for nothing in
        ["\"expires_in\":3600", "\"x_refresh_token_expires_in\":0", "\"x_refresh_token_expires_in\":\"soon\""]
    {
        assert_eq!(lifetime(&telling(nothing)), None, "{nothing}");
    }
}

#[test]
fn only_invalid_grant_ends_a_login() {
    let google = r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#;
    let rapt = r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#;
    assert!(matches!(answer(400, google), Err(TokenError::Ended(words)) if words.contains("expired or revoked")));
    assert!(matches!(answer(400, rapt), Err(TokenError::Ended(_))));
    for (status, body) in [
        (401, r#"{"error":"invalid_client","error_description":"Unauthorized"}"#),
        (401, r#"{"error":"unauthorized_client"}"#),
        (400, r#"{"error":"invalid_scope"}"#),
    ] {
        assert!(matches!(answer(status, body), Err(TokenError::Refused(_))), "{body}");
    }
}

#[test]
fn what_passes_is_tried_again() {
    let grant = r#"{"error":"invalid_grant"}"#;
    for (status, body) in [
        (500, grant),
        (503, ""),
        (429, r#"{"error":"rate_limit_exceeded"}"#),
        (408, grant),
        (400, r#"{"error":"internal_failure"}"#),
        (400, "<html>"),
        (404, ""),
        (302, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"access_token":17,"token_type":"Bearer"}"#),
        (200, "{\"access_token\":\"a\\r\\nx: y\",\"token_type\":\"Bearer\"}"),
        (200, r#"{"access_token":"","token_type":"Bearer"}"#),
        (200, r#"{"access_token":"a","token_type":"Bearer""#),
    ] {
        let result = answer(status, body);
        assert!(matches!(result, Err(TokenError::Unavailable(..))), "{status} {body}");
    }
}

#[test]
fn a_token_is_renewed_fifteen_minutes_early_or_after_three_quarters_of_a_short_life() {
    let at = |seconds: u64| due(Timestamp(0), Duration::from_secs(seconds));
    assert_eq!(at(3600), (Timestamp(3_600_000), Timestamp(2_700_000)));
    assert_eq!(at(7200), (Timestamp(7_200_000), Timestamp(6_300_000)));
    assert_eq!(at(60), (Timestamp(60_000), Timestamp(45_000)));
}

#[test]
fn the_client_is_encoded_as_the_standard_says() {
    let secret = SecretString::from("p:ä +");
    let (headers, body) = written(&[("a", "b c")], Some(Client { id: "i:d", secret: Some(&secret) })).unwrap();
    assert_eq!(headers[AUTHORIZATION], "Basic aSUzQWQ6cCUzQSVDMyVBNCslMkI=");
    assert_eq!(&body[..], b"a=b+c");
}
