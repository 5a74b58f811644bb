//! `luc token ...`: rights to join.
//!
//! Does:      makes a token from the cluster's secret key; explains one.
//! Does not:  ask a node, or show a token's secret except where one is made.
//! Bounds:    `armour::TEXT_CHARS_MAX` of a text are read.
//! Trusts:    a token's text for nothing but its checksum: who signed it is told, not judged.
//! Start at:  `run`.

use super::cluster::{cell, random_seed, read_secret};
use crate::{
    Done, Streams,
    arguments::{Common, Format, TokenCreate, TokenShow, TokenVerb},
    local,
    render::{self, Cell, Column, Layout, Resource, Shown, Tone, View, age, check_columns},
};
use identity::{
    armour::TEXT_CHARS_MAX,
    cluster::write_root,
    grant::{Grant, GrantFields, GrantRight},
    secret::SecretKey,
    token::Token,
};
use protocol::{Code, Name, Problem, Timestamp, problem::exit};
use serde::Serialize;
use std::{
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What is told of a token.
#[derive(Debug, Serialize)]
struct Told {
    id: String,
    site: Name,
    machines: u32,
    founds: bool,
    made_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// The root before the one that signed it, for sites that have not heard of the change.
    follows: Option<String>,
    /// Only where it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

fn expiry(told: &Told, now: Option<Timestamp>) -> Cell {
    let Some(at) = told.expires_at else {
        return cell("never");
    };
    match now {
        Some(now) if at <= now => Cell {
            text: format!("ended {} ago ({at})", age(now.ms_since(at))),
            tone: Tone::Bad,
        },
        Some(now) => cell(format!("in {} ({at})", age(at.ms_since(now)))),
        None => cell(at),
    }
}

impl Resource for Told {
    fn name(&self) -> String {
        self.id.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<Told>] = &[
            Column { key: "id",       shown: Shown::Table, cell: |one, _| cell(&one.id) },
            Column { key: "site",     shown: Shown::Table, cell: |one, _| cell(&one.site) },
            Column { key: "machines", shown: Shown::Table, cell: |one, _| cell(one.machines) },
            Column { key: "founds",   shown: Shown::Table, cell: |one, _| cell(if one.founds { "yes" } else { "no" }) },
            Column { key: "expires",  shown: Shown::Table, cell: expiry },
            Column { key: "made",     shown: Shown::Wide,  cell: |one, _| cell(one.made_at) },
            Column { key: "follows",  shown: Shown::Card,  cell: |one, _| cell(one.follows.as_deref().unwrap_or("-")) },
        ];
        COLUMNS
    }
}

impl Told {
    fn of(token: &Token) -> Result<Self, Problem> {
        let fields = token.grant().fields();
        let GrantRight::Token {
            site,
            count,
            founds,
        } = &fields.right
        else {
            return Err(local("This is no token", "Make one: luc token create"));
        };
        let at = |s: u64| Timestamp::from_unix_ms(s.saturating_mul(1000));
        Ok(Self {
            id: token.grant().id().to_string(),
            site: site.clone(),
            machines: *count,
            founds: *founds,
            made_at: at(fields.made_s),
            expires_at: fields.expires_s.map(at),
            follows: token.succession().map(|one| write_root(&one.fields().old)),
            token: None,
        })
    }
}

pub(super) fn run(verb: &TokenVerb, common: &Common, streams: &mut Streams) -> Done {
    check_columns::<Told>(common)?;
    match verb {
        TokenVerb::Create(create) => make(create, common, streams),
        TokenVerb::Show(show) => explain(show, common, streams),
    }
}

/// This machine's clock.
pub(super) fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(u64::MAX))
}

fn make(create: &TokenCreate, common: &Common, streams: &mut Streams) -> Done {
    let cluster = read_secret(&create.key, streams)?;
    let secret = SecretKey::from_seed(&random_seed()?);
    let now = clock();
    let made_s = now.unix_ms() / 1000;
    let expires_s = |lifetime: Duration| made_s.saturating_add(lifetime.as_secs());
    let fields = GrantFields {
        key: secret.public(),
        made_s,
        expires_s: create.expires.map(expires_s),
        right: GrantRight::Token {
            site: create.site.clone(),
            count: create.count,
            founds: create.founds,
        },
    };
    let grant = Grant::sign(fields, &cluster.root);
    let token = Token::new(grant, secret, cluster.succession)
        .ok_or_else(|| local("The token came out too long", "Report this bug"))?;
    let told = Told {
        token: Some(token.reveal()),
        ..Told::of(&token)?
    };
    if !common.quiet {
        tell(&told, streams);
    }
    match common.output {
        // The token alone, so that `> token` and `$(...)` get it.
        Format::Table | Format::Wide => render::put(&(token.reveal() + "\n"), streams)?,
        _ => render::one(&told, Layout::Card, &View::new(common, Some(now)), streams)?,
    }
    Ok(exit::DONE)
}

fn tell(told: &Told, streams: &mut Streams) {
    let machines = match told.machines {
        1 => "one machine".to_owned(),
        many => format!("{many} machines"),
    };
    let founds = if told.founds { ", and founds it" } else { "" };
    streams.tell(format_args!(
        "token:   lets {machines} join site {}{founds}",
        told.site
    ));
    streams.tell(format_args!(
        "expires: {}",
        expiry(told, Some(told.made_at)).text
    ));
    streams.tell("SECRET:  whoever reads it can join; it belongs into no kernel argument");
    streams.tell(format_args!(
        "next:    give it to the machines of {} as SMBIOS string luc.token=TOKEN (QEMU: \
         -smbios type=11,value=luc.token=TOKEN), with luc.site={} and luc.root=...",
        told.site, told.site
    ));
}

fn explain(show: &TokenShow, common: &Common, streams: &mut Streams) -> Done {
    let text = match show.token.as_str() {
        "-" => read_input("token", streams)?,
        text => text.to_owned(),
    };
    let token: Token = text.parse().map_err(|error| {
        let advice = "Copy it once more, whole, from where `luc token create` printed it";
        Problem::new(Code::BadValue, format!("This is no token: {error}"), advice)
    })?;
    let view = View::new(common, Some(clock()));
    render::one(&Told::of(&token)?, Layout::Card, &view, streams)?;
    Ok(exit::DONE)
}

/// A text from standard input; `what` it is, for people.
pub(super) fn read_input(what: &str, streams: &mut Streams) -> Result<String, Problem> {
    let Some(input) = streams.input.take() else {
        return Err(crate::usage(
            format!("There is no standard input to read a {what} from"),
            format!("Give the {what} itself, or `-` and `< FILE`"),
        ));
    };
    let mut text = String::new();
    let most = u64::try_from(TEXT_CHARS_MAX * 2).unwrap_or(u64::MAX);
    let read = std::fs::File::from(input)
        .take(most)
        .read_to_string(&mut text);
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(local(
            format!("Reading the {what} failed: {error}"),
            "Give it as text, or in a file: - < FILE",
        )),
    }
}

/// A lifetime in days, hours or minutes.
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_s: u64 = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" | "min" => 60,
        _ => return Err("write a number and d, h or m: for example 7d".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write for example 7d".to_owned())?;
    match number.checked_mul(unit_s) {
        Some(s) if (1..=100 * 365 * 86_400).contains(&s) => Ok(Duration::from_secs(s)),
        _ => Err("it must be more than nothing and less than 100 years".to_owned()),
    }
}
