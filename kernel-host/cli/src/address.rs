//! The address of a node, in the forms people write it.
//!
//! Start at:  `NodeAddress`.

use crate::usage;
use protocol::{Problem, limits};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// Where a node is: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    host: String,
    port: u16,
}

impl NodeAddress {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.parse::<Ipv6Addr>(), self.port) {
            (Ok(host), 80) => write!(f, "[{host}]"),
            (Ok(host), port) => write!(f, "[{host}]:{port}"),
            (Err(_), 80) => f.write_str(&self.host),
            (Err(_), port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl FromStr for NodeAddress {
    type Err = Problem;

    /// `192.0.2.7`, `node-a:8080`, `[2001:db8::7]:80`, `2001:db8::7`, `http://192.0.2.7/`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = || {
            let shown = limits::shortened(text, 80);
            usage(
                format!("`{shown}` is no address of a node"),
                "Write it as 192.0.2.7, 192.0.2.7:8080, [2001:db8::7]:8080 or name:8080",
            )
        };
        let bare = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        if let Ok(host) = bare.parse::<IpAddr>() {
            return Ok(Self {
                host: host.to_string(),
                port: 80,
            });
        }
        if let Some((host, port)) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let host: Ipv6Addr = host.parse().map_err(|_| bad())?;
            let port = match port.strip_prefix(':') {
                Some(port) => port
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(bad)?,
                None if port.is_empty() => 80,
                None => return Err(bad()),
            };
            return Ok(Self {
                host: host.to_string(),
                port,
            });
        }
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (bare, 80),
        };
        let label = |label: &str| {
            let right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(right)
        };
        if port == 0 || !host.trim_end_matches('.').split('.').all(label) {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::NodeAddress;
    use proptest::prelude::*;

    #[test]
    fn addresses_come_in_the_forms_people_write() {
        for (text, host, port) in [
            ("192.0.2.7", "192.0.2.7", 80),
            ("192.0.2.7:8080", "192.0.2.7", 8080),
            ("http://192.0.2.7/", "192.0.2.7", 80),
            ("node-a", "node-a", 80),
            ("node-a.example.org:81", "node-a.example.org", 81),
            ("2001:db8::7", "2001:db8::7", 80),
            ("[2001:db8::7]", "2001:db8::7", 80),
            ("[2001:DB8::7]:81", "2001:db8::7", 81),
        ] {
            let address: NodeAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.to_string().parse::<NodeAddress>().unwrap(), address);
        }
        for wrong in [
            "", ":80", "a:b", "a:70000", "a:0", "a b", "a/b", "[::1", "[::1]80", "a..b",
        ] {
            let problem = wrong.parse::<NodeAddress>().unwrap_err();
            assert!(problem.advice.contains("192.0.2.7"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_back(text in "\\PC{0,40}|[a-z0-9.:\\[\\]/-]{0,40}") {
            if let Ok(address) = text.parse::<NodeAddress>() {
                prop_assert_eq!(address.to_string().parse::<NodeAddress>().unwrap(), address);
            }
        }
    }
}
