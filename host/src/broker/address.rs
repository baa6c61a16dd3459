//! Where a broker is, and who we are there. The text is read once; the password is never shown again.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

/// The longest address that is read.
const MAX_BYTES: usize = 2048;

/// Why a text is no address of a broker. No message repeats any part of it, since it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Too long.
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not amqp or amqps, or no URL at all.
    #[error("it is no broker address; write it as amqps://user:password@host/vhost")]
    NotAmqp,
    /// A host that is none.
    #[error("its host is no name and no address; write it as amqps://user:password@host/vhost")]
    Host,
    /// Several parts of a path.
    #[error("it has more than one part after the host; a slash within the name of a virtual host is written %2f")]
    Path,
    /// A query or a fragment.
    #[error("it has a `?` or `#` with something behind it, which the hub does not use; leave that out")]
    Query,
    /// Percent signs that stand for no text.
    #[error("a percent sign in its user, password or virtual host stands for no text; a `%` itself is written %25")]
    Encoding,
    /// A name longer than the protocol allows.
    #[error("its virtual host is longer than 255 bytes")]
    Vhost,
}

/// An address that was read: `amqp[s]://[user[:password]@]host[:port][/vhost]`. Without a user it is `guest`, as brokers
/// have it at first; without a virtual host it is `/`. Neither `Debug` nor `Display` shows user or password.
#[derive(Clone)]
pub struct BrokerAddress {
    tls: bool,
    host: String,
    port: u16,
    user: String,
    password: SecretString,
    vhost: String,
}

impl BrokerAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// The text is none; the message says how one is written.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_BYTES {
            return Err(AddressError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| AddressError::NotAmqp)?;
        let tls = match url.scheme() {
            "amqps" => true,
            "amqp" => false,
            _ => return Err(AddressError::NotAmqp),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        if url.path().get(1..).is_some_and(|path| path.contains('/')) {
            return Err(AddressError::Path);
        }
        // For a scheme that browsers do not know the host is left as it was written; it is read as theirs are, so that
        // there is one way to write each.
        let written = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::Host)?;
        let host = match Host::parse(written).map_err(|_| AddressError::Host)? {
            Host::Domain(name) if name.trim_end_matches('.').is_empty() || name.len() > 253 => {
                return Err(AddressError::Host);
            }
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let parts: AMQPUri = text.parse().map_err(|_| AddressError::Encoding)?;
        let vhost = if parts.vhost.is_empty() { "/".to_owned() } else { parts.vhost };
        if vhost.len() > 255 {
            return Err(AddressError::Vhost);
        }
        Ok(Self {
            tls,
            host,
            port: parts.authority.port,
            user: parts.authority.userinfo.username,
            password: parts.authority.userinfo.password.into(),
            vhost,
        })
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The name or address of the host, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The password, for the log's list of words that it never writes.
    #[must_use]
    pub const fn password(&self) -> &SecretString {
        &self.password
    }

    /// The address in lapin's words. Its own reader takes an IPv6 address for `localhost`, so the host is put in here.
    pub(super) fn to_uri(&self, heartbeat_s: u16, frame_max: u32) -> AMQPUri {
        let scheme = if self.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP };
        let mut uri = AMQPUri { scheme, ..AMQPUri::default() };
        uri.authority.host.clone_from(&self.host);
        uri.authority.port = self.port;
        uri.authority.userinfo.username.clone_from(&self.user);
        self.password.expose_secret().clone_into(&mut uri.authority.userinfo.password);
        uri.vhost.clone_from(&self.vhost);
        uri.query.heartbeat = Some(heartbeat_s);
        uri.query.frame_max = Some(frame_max);
        uri
    }
}

/// Equal if they lead to the same place with the same rights.
impl PartialEq for BrokerAddress {
    fn eq(&self, other: &Self) -> bool {
        (self.tls, self.port, &self.host, &self.user, &self.vhost)
            == (other.tls, other.port, &other.host, &other.user, &other.vhost)
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl Eq for BrokerAddress {}

/// Scheme, host, port and virtual host.
impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}/", self.host, self.port)?;
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        for byte in self.vhost.bytes() {
            if safe(byte) { write!(f, "{}", char::from(byte))? } else { write!(f, "%{byte:02x}")? }
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shown(text: &str) -> String {
        BrokerAddress::parse(text).unwrap().to_string()
    }

    #[test]
    fn addresses_are_read_as_brokers_write_them() {
        assert_eq!(shown("amqp://localhost"), "amqp://localhost:5672/%2f");
        assert_eq!(shown("amqps://u:p@Broker.Example.com/shop"), "amqps://broker.example.com:5671/shop");
        assert_eq!(shown("amqp://h:443/"), "amqp://h:443/%2f");
        assert_eq!(shown("amqp://h/a%2fb"), "amqp://h:5672/a%2fb");
        assert_eq!(shown("amqp://[2001:db8::1]:5673/v"), "amqp://[2001:db8::1]:5673/v");
        assert_eq!(shown("amqp://0x7f.1/v"), "amqp://127.0.0.1:5672/v");
        let uri = BrokerAddress::parse("amqp://u%40x:p%3aw@[::1]/v").unwrap().to_uri(10, 8192);
        assert_eq!((uri.authority.host.as_str(), uri.authority.userinfo.username.as_str()), ("::1", "u@x"));
        assert_eq!((uri.authority.userinfo.password.as_str(), uri.vhost.as_str()), ("p:w", "v"));
        assert_eq!((uri.query.heartbeat, uri.query.frame_max), (Some(10), Some(8192)));
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        let long = format!("amqp://u:hunter2@h/{}", "v".repeat(300));
        let longer = format!("amqp://u:hunter2@h/{}", "v".repeat(3000));
        for (text, expected) in [
            ("", AddressError::NotAmqp),
            ("hunter2", AddressError::NotAmqp),
            ("http://u:hunter2@h/", AddressError::NotAmqp),
            ("amqp:hunter2", AddressError::Host),
            ("amqp:///hunter2", AddressError::Host),
            ("amqp://u:hunter2@/v", AddressError::NotAmqp),
            ("amqp://u:hunter2@h/a/b", AddressError::Path),
            ("amqp://u:hunter2@h/v?heartbeat=1", AddressError::Query),
            ("amqp://u:hunter2@h/v#x", AddressError::Query),
            ("amqp://u:hunter2%ff@h/v", AddressError::Encoding),
            (long.as_str(), AddressError::Vhost),
            (longer.as_str(), AddressError::TooLong),
        ] {
            let error = BrokerAddress::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let address = BrokerAddress::parse("amqp://someone:hunter2@h/v").unwrap();
        for shown in [format!("{address}"), format!("{address:?}")] {
            assert!(!shown.contains("hunter2") && !shown.contains("someone"), "{shown}");
        }
    }
}
