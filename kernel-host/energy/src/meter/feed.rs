//! A feed of the site from a web server: the grid's carbon, forecasts, an inverter's portal.
//!
//! Fetches the document; what its rows mean, and which of them can be true, `green::feed` knows.

use super::http::{self, Secret};
use super::{Answer, Fault, Readings, Rhythm, Round, SECOND, Source, Uptime, Way, Wish};
use protocol::Microwatts;
use std::net::SocketAddr;

/// The driver: one GET every ten minutes.
#[derive(Debug)]
pub struct Feed {
    name: String,
    at: SocketAddr,
    host: String,
    path: String,
    authorization: Option<Secret>,
}

impl Feed {
    /// `None` for a host or path that would not fit into a request's first lines.
    #[must_use]
    pub fn new(
        at: SocketAddr,
        host: &str,
        path: &str,
        authorization: Option<Secret>,
    ) -> Option<Self> {
        let plain = |text: &str| text.len() <= 200 && text.bytes().all(|b| b.is_ascii_graphic());
        let good = plain(host) && plain(path) && path.starts_with('/');
        good.then(|| Self {
            name: format!("feed {}", at.ip()),
            at,
            host: host.to_owned(),
            path: path.to_owned(),
            authorization,
        })
    }
}

impl Source for Feed {
    fn name(&self) -> &str {
        &self.name
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: 600 * SECOND,
            deadline_ns: 20 * SECOND,
            most: Microwatts(u64::MAX),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        Ok(Wish::Exchange {
            way: Way::Stream(self.at),
            bytes: http::request(&self.host, &self.path, self.authorization.as_ref()),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, end } = answer else {
            return Err(Fault::nonsense("feed", "an answer that is no bytes"));
        };
        let Some(response) = http::parse(bytes, end)? else {
            return Ok(Round::ReadOn);
        };
        match (response.status, response.body.is_empty()) {
            (200, false) => {
                out.document = Some(response.body);
                Ok(Round::Done)
            }
            (200, true) => Err(Fault::nonsense("feed", "an empty document")),
            (status, _) => Err(Fault::Refused {
                why: format!("HTTP {status}"),
            }),
        }
    }
}
