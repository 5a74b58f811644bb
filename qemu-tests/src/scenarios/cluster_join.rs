//! Machines with a token join a cluster from two sites; others stay outside, and are told why.
//!
//! Does:      boots three members, a stranger, a machine with a token for elsewhere and one of
//!            another cluster, and looks at every byte that nodes said to each other.
//! Does not:  cut wires or power: `cluster` does.
//! Bounds:    six machines of 256 MiB, two of which boot at a time.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::cluster::{Cluster, Keys, Member};
use crate::demand;
use crate::machine::Machine;
use crate::node::direct;
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;
use crate::wire::{Link, WHOLE_PORT};

use crate::wire::talk::{Packet, Talk};

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "cluster-join",
    promise: "machines with a token join from two sites, others are told why not, \
              and the wire shows no plain text",
    limit: Duration::from_secs(600),
    is_long: false,
    run,
};

/// Names that no firmware, kernel or protocol happens to say.
const SITES: &[&str] = &["tangermuende", "jerichow"];
const FOUNDER: &str = "elbufer";
const SECOND: &str = "rossfurt";
const FAR: &str = "klosterhof";
const STRANGER: &str = "fremdling";
const ELSEWHERE: &str = "irrlaeufer";
const FOREIGN: &str = "auswaertig";

/// 25 ms each way.
const LINE: Link = Link {
    delay_ms: 25,
    loss_ppm: 0,
    rate_bps: 0,
    cut: false,
};
/// Of a megabyte of random bytes, a run of so many printable letters is there once in 10,000 times.
const TEXT_MAX: usize = 23;
/// Fewer datagrams, or parts of streams, would be no proof that the search looked at anything.
const DATAGRAMS_MIN: usize = 100;
const PARTS_MIN: usize = 20;

fn run(story: &mut Story) -> Outcome {
    let mut cluster = Cluster::start(story, SITES, LINE)?;
    let tokens = [
        cluster.keys.token(SITES[0], 2, true)?,
        cluster.keys.token(SITES[1], 1, true)?,
    ];
    let here = [
        cluster.seat(FOUNDER, 0)?.token(&tokens[0]),
        cluster.seat(SECOND, 0)?.token(&tokens[0]),
    ];
    let mut members = cluster.power_on(story, &here)?;
    let seed = [members[0].node.address];
    let far = cluster.seat(FAR, 1)?.token(&tokens[1]).seeds(&seed);
    members.extend(cluster.power_on(story, &[far])?);
    for member in &members {
        // It counts those that it knows to be alive.
        hear(story, member, "] peers 3 nodes in 2 sites")?;
    }

    let strangers = strangers(story, &mut cluster, seed[0], &tokens[1])?;
    demand_outside(&members, &strangers)?;

    let mut secrets: Vec<String> = [FOUNDER, SECOND, FAR, STRANGER, ELSEWHERE, FOREIGN]
        .iter()
        .chain(SITES)
        .map(|name| (*name).to_owned())
        .collect();
    secrets.extend(tokens);
    secrets.push(cluster.keys.root().to_owned());
    secrets.extend(members.iter().map(|member| member.id.clone()));
    drop((members, strangers, cluster)); // captures are whole when their wires have ended
    demand_sealed(story, &secrets)
}

/// Machines that must not get in. The screen of each says why, and what a person can do.
fn strangers(
    story: &Story,
    cluster: &mut Cluster,
    founder: Ipv4Addr,
    elsewhere: &str,
) -> Result<Vec<Machine>, Problem> {
    let others = Keys::make(story, "others")?;
    let foreign = others.token(SITES[0], 1, false)?;
    let bare = cluster.seat(STRANGER, 0)?;
    let astray = cluster.seat(ELSEWHERE, 0)?.token(elsewhere);
    let alien = cluster.seat_under(FOREIGN, 0, others.root())?;
    let alien = alien.token(&foreign).seeds(&[founder]);
    let told = [
        (
            bare,
            "waits for approval with the code ",
            "luc node approve ",
        ),
        (
            astray,
            "not let in: the token is for site jerichow",
            "luc token create ",
        ),
        (
            alien,
            "comes from a root key that nobody here knows",
            "luc cluster show",
        ),
    ];
    let mut machines = Vec::new();
    for (seat, why, advice) in told {
        let shape = seat.boot(direct(story.supplies(), "")).shape;
        let mut machine = story.power_on(shape)?;
        machine.booted("] ready http://", story.left())?;
        let line = machine.serial().wait_for(why, story.left())?.text;
        demand!(
            line.contains(advice),
            "{}: no advice in {line:?}",
            machine.name()
        );
        machines.push(machine);
    }
    Ok(machines)
}

/// None of these machines is in, and nobody counts them.
fn demand_outside(members: &[Member], strangers: &[Machine]) -> Outcome {
    for stranger in strangers {
        let joined = stranger.serial().all_with("] joined ");
        demand!(joined.is_empty(), "{} is in: {joined:?}", stranger.name());
    }
    for member in members {
        let crowds = member.node.machine.serial().all_with("] peers ");
        let wrong = crowds.iter().find(|line| line.text.contains("4 nodes"));
        let name = member.seat.name;
        demand!(wrong.is_none(), "{name} counts a stranger: {wrong:?}");
    }
    Ok(())
}

fn hear(story: &Story, member: &Member, wanted: &str) -> Outcome {
    let serial = member.node.machine.serial();
    serial.wait_for(wanted, story.left())?;
    Ok(())
}

/// Nothing of what nodes said to each other can be read by who listens on the wire.
fn demand_sealed(story: &Story, secrets: &[String]) -> Outcome {
    for (site, name) in SITES.iter().zip([FOUNDER, FAR]) {
        let path = story.folders().logs.join(format!("{site}.pcap"));
        let of_nodes = |packet: &Packet<'_>| packet.is_of(WHOLE_PORT);
        let talk = Talk::of(&path, of_nodes)?;
        let [datagrams, parts] = [false, true].map(|streams| talk.packets(streams));
        demand!(
            datagrams >= DATAGRAMS_MIN && parts >= PARTS_MIN,
            "{site}: only {datagrams} datagrams and {parts} parts of streams were seen"
        );
        let plain = secrets.iter().find(|secret| talk.has(secret.as_bytes()));
        demand!(plain.is_none(), "{site}: the wire shows {plain:?}");
        let text = talk.longest_text();
        demand!(
            text.len() <= TEXT_MAX,
            "{site}: the wire shows the text {text:?}"
        );
        // DHCP names the machine in the clear, in the same capture.
        let clear = Talk::of(&path, |packet| !packet.is_of(WHOLE_PORT))?;
        demand!(
            clear.has(name.as_bytes()),
            "{site}: the search finds nothing at all"
        );
    }
    Ok(())
}
