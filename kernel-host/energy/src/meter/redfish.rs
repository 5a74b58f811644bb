//! A BMC by Redfish: the power of a chassis.
//!
//! Does:      lists the chassis, then reads `EnvironmentMetrics`, or `Power` where there is none;
//!            remembers what worked, so that a usual round is one GET.
//! Does not:  log in by sessions, or do TLS: most BMCs want it, so the caller's bytes must be
//!            wrapped, or the BMC told to speak plain HTTP on its own network.
//! Bounds:    `CHASSIS_MAX`; one document at a time.
//! Trusts:    nobody: a value that is null, missing or no number is a fault and no zero.
//! Start at:  `Redfish::take`.

use super::decimal::unsigned_millionths;
use super::http::{self, Secret};
use super::{Answer, Class, Fault, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;
use serde_json::Value as Json;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A blade's own chassis and the enclosure around it, and a few that are no machines.
const CHASSIS_MAX: usize = 8;
const PATH_CHARS_MAX: usize = 200;

/// What is asked of a chassis, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Environment,
    Power,
}

/// The driver.
#[derive(Debug)]
pub struct Redfish {
    name: String,
    at: SocketAddr,
    authorization: Option<Secret>,
    /// The document that worked in the last round.
    known: Option<String>,
    todo: VecDeque<(Document, String)>,
    asked: Option<(Document, String)>,
    listing: bool,
}

impl Redfish {
    /// `authorization` is the value of the HTTP header, if the BMC wants one.
    #[must_use]
    pub fn new(at: SocketAddr, authorization: Option<Secret>) -> Self {
        Self {
            name: format!("redfish {}", at.ip()),
            at,
            authorization,
            known: None,
            todo: VecDeque::new(),
            asked: None,
            listing: false,
        }
    }

    fn got_list(&mut self, body: &[u8]) -> Result<Round, Fault> {
        let found = chassis(body)?;
        for path in found {
            self.todo
                .push_back((Document::Environment, format!("{path}/EnvironmentMetrics")));
            self.todo
                .push_back((Document::Power, format!("{path}/Power")));
        }
        Ok(Round::Next)
    }

    /// A document without a power is passed over while there are others.
    fn got_document(
        &mut self,
        status: u16,
        body: &[u8],
        out: &mut Readings,
    ) -> Result<Round, Fault> {
        let Some((document, path)) = self.asked.take() else {
            return Err(Fault::nonsense(
                "redfish",
                "an answer that nobody asked for",
            ));
        };
        let power = match status {
            200 => power(document, body),
            _ => Err(refused(status, &path)),
        };
        match power {
            Ok(power) => {
                self.known = Some(path);
                out.push(Reading::new(
                    Zone::Wall(0),
                    Class::Wall,
                    Value::Gauge(power),
                ));
                Ok(Round::Done)
            }
            Err(_) if !self.todo.is_empty() => Ok(Round::Next),
            Err(fault) => {
                self.known = None;
                Err(fault)
            }
        }
    }
}

fn refused(status: u16, path: &str) -> Fault {
    let path = protocol::limits::shortened(path, 60);
    let why = match status {
        401 | 403 => format!("{path}: wrong user or password (HTTP {status})"),
        _ => format!("{path}: HTTP {status}"),
    };
    Fault::Refused { why }
}

/// The paths of all chassis.
fn chassis(body: &[u8]) -> Result<Vec<String>, Fault> {
    let document = json(body)?;
    let members = document.get("Members").and_then(Json::as_array);
    let paths = members.into_iter().flatten().filter_map(|member| {
        let path = member.get("@odata.id")?.as_str()?;
        let plain = |c: char| c.is_ascii_graphic();
        let good = path.starts_with("/redfish/") && path.len() <= PATH_CHARS_MAX;
        (good && path.chars().all(plain)).then(|| path.trim_end_matches('/').to_owned())
    });
    let paths: Vec<String> = paths.take(CHASSIS_MAX).collect();
    match paths.is_empty() {
        true => Err(Fault::Absent {
            what: "a chassis in the BMC's list".to_owned(),
        }),
        false => Ok(paths),
    }
}

fn json(body: &[u8]) -> Result<Json, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::nonsense("the BMC's document", error.to_string()))
}

/// The power that a document tells.
fn power(document: Document, body: &[u8]) -> Result<Microwatts, Fault> {
    let json = json(body)?;
    let found = match document {
        // A sensor's excerpt; some send the bare number.
        Document::Environment => json
            .get("PowerWatts")
            .and_then(|watts| number(watts.get("Reading").unwrap_or(watts))),
        Document::Power => json
            .get("PowerControl")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .find_map(|control| number(control.get("PowerConsumedWatts")?)),
    };
    found.map(Microwatts).ok_or_else(|| Fault::Absent {
        what: "a power in the BMC's document".to_owned(),
    })
}

/// A JSON number in millionths, from its text.
fn number(value: &Json) -> Option<u64> {
    match value {
        Json::Number(number) => unsigned_millionths(&number.to_string()),
        _ => None,
    }
}

/// Reads a document of each kind: what a fuzzer calls.
pub(crate) fn read_any(body: &[u8]) {
    let _ = chassis(body);
    for document in [Document::Environment, Document::Power] {
        let _ = power(document, body);
    }
}

impl Source for Redfish {
    fn name(&self) -> &str {
        &self.name
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            // BMCs answer slowly and average over up to a minute.
            period_ns: 30 * SECOND,
            deadline_ns: 10 * SECOND,
            most: Microwatts::from_watts(20_000),
        }
    }

    fn begin(&mut self) {
        self.todo.clear();
        self.asked = None;
        self.listing = self.known.is_none();
        if let Some(path) = &self.known {
            let document = match path.ends_with("/Power") {
                true => Document::Power,
                false => Document::Environment,
            };
            self.todo.push_back((document, path.clone()));
        }
    }

    fn wish(&mut self) -> Result<Wish, Fault> {
        let host = self.at.to_string();
        let path = match self.listing {
            true => "/redfish/v1/Chassis".to_owned(),
            false => {
                self.asked = self.todo.pop_front();
                match &self.asked {
                    Some((_, path)) => path.clone(),
                    None => {
                        return Err(Fault::Absent {
                            what: "a power".to_owned(),
                        });
                    }
                }
            }
        };
        Ok(Wish::Exchange {
            way: Way::Stream(self.at),
            bytes: http::request(&host, &path, self.authorization.as_ref()),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, end } = answer else {
            return Err(Fault::nonsense("redfish", "an answer that is no bytes"));
        };
        let Some(response) = http::parse(bytes, end)? else {
            return Ok(Round::ReadOn);
        };
        if !std::mem::take(&mut self.listing) {
            return self.got_document(response.status, &response.body, out);
        }
        match response.status {
            200 => self.got_list(&response.body),
            status => Err(refused(status, "/redfish/v1/Chassis")),
        }
    }
}
