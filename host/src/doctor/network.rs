use std::net::{IpAddr, SocketAddr, TcpListener};

use ipnet::IpNet;
use url::{Host, Url};

use super::report::Report;
use crate::config::Settings;

/// Where clouds answer what nobody outside may know.
const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

/// Looks at where the hub listens, how others reach it, and what it may reach.
pub(super) fn look(settings: &Settings, in_use: bool, report: &mut Report) {
    listen(settings.listen, in_use, report);
    match &settings.public_url {
        Some(url) => public_url(url, report),
        None => bound(settings.listen, report),
    }
    egress(&settings.egress_allow, report);
}

fn listen(address: SocketAddr, in_use: bool, report: &mut Report) {
    match TcpListener::bind(address) {
        Ok(_) => report.ok("listen", format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && in_use => {
            report.ok("listen", format!("{address} is taken, as it should be beside a running hub"));
        }
        Err(error) => {
            let fix = "stop who has it (`ss -ltnp` shows), or set SWITCHYARD_LISTEN to an address of this machine";
            report.fail("listen", format!("{address}: {error}"), fix);
        }
    }
}

fn bound(address: SocketAddr, report: &mut Report) {
    if address.ip().is_loopback() {
        report.ok("public url", "not set: only this machine reaches the hub".to_owned());
    } else {
        let said = format!("not set: the hub hands out URLs at http://{address}");
        report.warn("public url", said, "set SWITCHYARD_PUBLIC_URL to what providers call, beginning with https://");
    }
}

fn public_url(url: &Url, report: &mut Report) {
    let inside = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified() || address.is_unique_local(),
        None => true,
    };
    let said = url.to_string();
    if !matches!(url.scheme(), "http" | "https") {
        report.fail("public url", said, "it must begin with https://");
    } else if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        // What stands in it may be a secret.
        let said = format!("{}://{} with more behind it", url.scheme(), url.host_str().unwrap_or_default());
        report.fail("public url", said, "leave out user, query and fragment: paths are put behind it");
    } else if inside {
        report.warn("public url", said, "only this network reaches it; providers need a public name");
    } else if url.scheme() == "http" {
        report.warn("public url", said, "use https://: providers refuse others, and secrets would go in clear");
    } else {
        report.ok("public url", said);
    }
}

fn egress(allowed: &[IpNet], report: &mut Report) {
    let metadata: Vec<IpAddr> = METADATA.iter().filter_map(|text| text.parse().ok()).collect();
    let list = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if allowed.is_empty() {
        report.ok("egress", "public addresses only, over https".to_owned());
    } else if allowed.iter().any(|net| net.prefix_len() == 0) {
        let fix = "name the networks that endpoints need in SWITCHYARD_EGRESS_ALLOW, not all of them";
        report.fail("egress", format!("{list}: anything may be reached, so that nothing is guarded"), fix);
    } else if metadata.iter().any(|address| allowed.iter().any(|net| net.contains(address))) {
        report.warn("egress", format!("{list}: the cloud's metadata may be reached"), "leave 169.254.0.0/16 out");
    } else if allowed.iter().any(|net| net.addr().is_loopback()) {
        let fix = "leave 127.0.0.0/8 and ::1 out where tenants are strangers: services of this machine trust them";
        report.warn("egress", format!("{list}: this machine itself may be reached"), fix);
    } else {
        report.ok("egress", format!("public addresses, and {list}"));
    }
}
