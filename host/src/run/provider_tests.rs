use super::*;

fn keyed(convention: &Idempotency, path: &str) -> (HeaderMap, String) {
    let mut headers = HeaderMap::new();
    let path = with_key(&mut headers, path, convention, Some("sw-1"));
    (headers, path)
}

#[test]
fn the_key_goes_where_the_provider_looks_for_it() {
    let (headers, path) = keyed(&Idempotency::Header("Idempotency-Key".to_owned()), "/v1/charges");
    assert_eq!((headers["idempotency-key"].to_str().unwrap(), path.as_str()), ("sw-1", "/v1/charges"));
    let (headers, path) = keyed(&Idempotency::Query("requestid".to_owned()), "/bill");
    assert_eq!((headers.len(), path.as_str()), (0, "/bill?requestid=sw-1"));
    let (_, path) = keyed(&Idempotency::Query("requestid".to_owned()), "/bill?minorversion=75");
    assert_eq!(path, "/bill?minorversion=75&requestid=sw-1");
}

#[test]
fn conventions_without_a_key_of_ours_change_nothing() {
    for convention in [Idempotency::None, Idempotency::OwnId, Idempotency::Other("x".to_owned())] {
        let (headers, path) = keyed(&convention, "/bill?a=1");
        assert_eq!((headers.len(), path.as_str()), (0, "/bill?a=1"));
    }
    let mut headers = HeaderMap::new();
    assert_eq!(with_key(&mut headers, "/a", &Idempotency::Query("id".to_owned()), None), "/a", "a read has no key");
}

#[test]
fn a_convention_that_the_host_does_not_know_is_never_repeated() {
    assert!(!call::may_repeat(&Method::POST, known(&Idempotency::Other("later".to_owned()))));
    assert!(!call::may_repeat(&Method::POST, known(&Idempotency::None)));
    assert!(call::may_repeat(&Method::PUT, known(&Idempotency::None)));
    assert!(call::may_repeat(&Method::POST, known(&Idempotency::OwnId)));
}

#[test]
fn a_convention_whose_key_would_never_arrive_is_refused() {
    for name in ["", "a b", "x\r\nhost", "host", "content-length", "æ"] {
        assert!(check_convention(&Idempotency::Header(name.to_owned())).is_err(), "header {name:?}");
    }
    for name in ["", "a#", "id=1&admin", "a b", "x\r\n", "../x", "æ"] {
        assert!(check_convention(&Idempotency::Query(name.to_owned())).is_err(), "query {name:?}");
    }
    check_convention(&Idempotency::Header("Idempotency-Key".to_owned())).unwrap();
    check_convention(&Idempotency::Query("requestid".to_owned())).unwrap();
    check_convention(&Idempotency::OwnId).unwrap();
}
