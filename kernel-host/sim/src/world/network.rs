//! Distance, loss and cuts between sites: what becomes of a message on its way.
//!
//! Does:      delay by distance and by the sender's line; loss, doubling and disorder; cuts by
//!            direction, by channel and by length.
//! Does not:  carry bytes: `World` does, by the fate that is told here.
//! Bounds:    `RULES_MAX` rules at a time; more are refused by `World` as a broken history.
//! Trusts:    its caller for indices of sites and hosts.
//! Start at:  `Network::fate`.

use netcore::dice::Dice;
use protocol::peer::Channel;
use serde::{Deserialize, Serialize};

/// Cuts and other disturbances at one time.
pub const RULES_MAX: usize = 512;
/// IPv4, UDP, a session's header and its tag.
pub const DATAGRAM_OVERHEAD_BYTES: u64 = 20 + 8 + 16 + 16;
/// IPv4, TCP with time stamps, a frame's header and its tag.
pub const STREAM_OVERHEAD_BYTES: u64 = 20 + 32 + 2 + 16;
/// A host's line: 1 Gbit/s is 125 bytes in a microsecond.
const LINE_BYTES_PER_US: u64 = 125;
/// What a line queues before it drops datagrams.
const LINE_QUEUE_US: u64 = 200_000;
/// TCP's least time before it sends again.
const STREAM_RETRY_US: u64 = 200_000;
/// The longest that disorder holds a message back.
const DISORDER_US_MAX: u64 = 2_000_000;

/// Hosts that a disturbance is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    All,
    /// Sorted.
    Sites(Vec<u16>),
    /// Sorted.
    Hosts(Vec<u32>),
}

impl Group {
    pub fn has(&self, place: Place) -> bool {
        match self {
            Self::All => true,
            Self::Sites(sites) => sites.binary_search(&place.site).is_ok(),
            Self::Hosts(hosts) => hosts.binary_search(&place.host).is_ok(),
        }
    }
}

/// A host and its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub host: u32,
    pub site: u16,
}

/// What a disturbance does to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Block,
    /// Nothing on this channel passes.
    BlockDatagrams,
    BlockStreams,
    LossPpm(u32),
    DelayUs(u64),
    /// Longer datagrams vanish; streams find the size by themselves.
    SizeMax(u64),
}

/// A disturbance of messages from one group to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub from: Group,
    pub to: Group,
    pub effect: Effect,
}

/// The weather, which does not change during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    pub loss_ppm: u32,
    pub double_ppm: u32,
    pub disorder_ppm: u32,
    /// The longest one-way time between two sites.
    pub far_us: u32,
}

impl Weather {
    /// 1 % loss everywhere, far sites 50 ms away.
    pub const RAIN: Self = Self {
        loss_ppm: 10_000,
        double_ppm: 0,
        disorder_ppm: 0,
        far_us: 50_000,
    };
    pub const CALM: Self = Self {
        loss_ppm: 0,
        ..Self::RAIN
    };
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lost,
    /// Comes after so many microseconds.
    Comes(u64),
    /// Comes twice.
    Twice(u64, u64),
}

/// The lines between sites.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    /// One-way microseconds, by site and site.
    distance_us: Vec<u32>,
    sites: usize,
    rules: Vec<(u32, Rule)>,
    dice: Dice,
}

impl Network {
    /// Sites at random places on a plane.
    pub fn new(seed: u64, sites: u16, weather: Weather) -> Self {
        let mut dice = Dice::new(seed);
        let side = u64::from(weather.far_us) * 7 / 10;
        let places: Vec<(u64, u64)> = (0..sites)
            .map(|_| (dice.below(side), dice.below(side)))
            .collect();
        let mut distance_us = Vec::with_capacity(places.len() * places.len());
        for (at, a) in places.iter().enumerate() {
            for (to, b) in places.iter().enumerate() {
                let line = (a.0.abs_diff(b.0).pow(2) + a.1.abs_diff(b.1).pow(2)).isqrt();
                let one_way = if at == to { 100 } else { 1000 + line };
                distance_us.push(u32::try_from(one_way).unwrap_or(u32::MAX));
            }
        }
        Self {
            weather,
            distance_us,
            sites: places.len(),
            rules: Vec::new(),
            dice,
        }
    }

    pub fn distance_us(&self, from: u16, to: u16) -> u64 {
        let at = usize::from(from) * self.sites + usize::from(to);
        self.distance_us.get(at).copied().map_or(100, u64::from)
    }

    pub fn add_rule(&mut self, id: u32, rule: Rule) {
        if self.rules.len() < RULES_MAX {
            self.rules.push((id, rule));
        }
    }

    pub fn remove_rule(&mut self, id: u32) {
        self.rules.retain(|(other, _)| *other != id);
    }

    /// The heal phase: no cut and no loss is left.
    pub fn calm_down(&mut self) {
        self.rules.clear();
    }

    pub fn is_disturbed(&self) -> bool {
        !self.rules.is_empty()
    }

    pub fn weather_mut(&mut self) -> &mut Weather {
        &mut self.weather
    }

    /// Whether a cut stands between the two now.
    pub fn is_blocked(&self, from: Place, to: Place, channel: Channel) -> bool {
        !self.rules.is_empty()
            && self.rules.iter().any(|(_, rule)| {
                let blocks = matches!(
                    (rule.effect, channel),
                    (Effect::Block, _)
                        | (Effect::BlockDatagrams, Channel::Datagram)
                        | (Effect::BlockStreams, Channel::Stream)
                );
                blocks && rule.from.has(from) && rule.to.has(to)
            })
    }

    /// Loss and further delay by rules, for a message of `bytes`.
    fn disturbance(&self, from: Place, to: Place, bytes: u64) -> (u32, u64) {
        let (mut loss_ppm, mut delay_us) = (self.weather.loss_ppm, 0);
        let applying = self.rules.iter().map(|(_, rule)| rule);
        for rule in applying.filter(|rule| rule.from.has(from) && rule.to.has(to)) {
            match rule.effect {
                Effect::LossPpm(ppm) => loss_ppm = loss_ppm.max(ppm),
                Effect::DelayUs(us) => delay_us += us,
                Effect::SizeMax(max) if bytes > max => loss_ppm = 1_000_000,
                _ => {}
            }
        }
        (loss_ppm, delay_us)
    }

    fn happens(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.dice.below(1_000_000) < u64::from(ppm)
    }

    /// What becomes of a datagram that leaves the sender's line after `queued_us`.
    pub fn datagram(&mut self, from: Place, to: Place, bytes: u64, queued_us: u64) -> Fate {
        if queued_us > LINE_QUEUE_US || self.is_blocked(from, to, Channel::Datagram) {
            return Fate::Lost;
        }
        self.travel(from, to, bytes, queued_us)
    }

    fn travel(&mut self, from: Place, to: Place, bytes: u64, queued_us: u64) -> Fate {
        let (loss_ppm, delay_us) = self.disturbance(from, to, bytes);
        if self.happens(loss_ppm) {
            return Fate::Lost;
        }
        let distance = self.distance_us(from.site, to.site);
        let travel = distance + self.dice.below(distance / 8 + 20) + delay_us + queued_us;
        if self.happens(self.weather.double_ppm) {
            return Fate::Twice(travel, travel + self.dice.below(DISORDER_US_MAX / 10));
        }
        if self.happens(self.weather.disorder_ppm) {
            return Fate::Comes(travel + self.dice.below(DISORDER_US_MAX));
        }
        Fate::Comes(travel)
    }

    /// What becomes of one frame of a whole host stack: of a stream, of a datagram, or of neither,
    /// such as ARP. TCP itself sends again what is lost.
    pub fn frame(&mut self, from: Place, to: Place, bytes: u64, channel: Option<Channel>) -> Fate {
        let is_blocked = match channel {
            Some(channel) => self.is_blocked(from, to, channel),
            // Only what stops everything stops it.
            None => {
                self.is_blocked(from, to, Channel::Datagram)
                    && self.is_blocked(from, to, Channel::Stream)
            }
        };
        if is_blocked {
            return Fate::Lost;
        }
        self.travel(from, to, bytes, 0)
    }

    /// How long a message on a stream takes; `fresh`: the stream has to be made first.
    /// `None`: a cut stands in the way, in one direction or the other.
    pub fn stream(&mut self, from: Place, to: Place, bytes: u64, fresh: bool) -> Option<u64> {
        let cut = self.is_blocked(from, to, Channel::Stream)
            || self.is_blocked(to, from, Channel::Stream);
        if cut {
            return None;
        }
        let distance = self.distance_us(from.site, to.site);
        let (loss_ppm, delay_us) = self.disturbance(from, to, 0);
        let trips = if fresh { 5 } else { 1 } + 2 * (bytes / 30_000);
        let mut travel = distance * trips + self.dice.below(distance / 8 + 20) + delay_us;
        let segments = bytes / 1400 + 1;
        for _ in 0..segments.min(50) {
            if self.happens(loss_ppm.min(500_000)) {
                travel += STREAM_RETRY_US + 2 * distance;
            }
        }
        Some(travel)
    }
}

/// How long a line of a host is busy with so many bytes.
pub const fn line_us(bytes: u64) -> u64 {
    bytes / LINE_BYTES_PER_US + 1
}
