//! Addresses that a server gives away.
//!
//! Does:      remembers who has which address, and gives everybody the same one again.
//! Does not:  speak DHCP; `server` does.
//! Bounds:    `POOL_LEN_MAX` addresses; each station holds one. When all are held, the one whose
//!            lease ended longest ago goes; if none has ended, a newcomer gets nothing.
//! Trusts:    the server to pass only its own range.
//! Start at:  `Pool::offer`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::ethernet::Mac;

/// Addresses in one pool: four racks with room to spare.
pub const POOL_LEN_MAX: u32 = 1024;

/// How long an offer waits for its request.
const OFFER_MS: u64 = 60_000;

/// How long an address rests after somebody else was found on it.
const DECLINED_MS: u64 = 600_000;

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: Ipv4Addr,
    /// Held until then; kept for its station afterwards while nobody else needs it.
    until_ms: u64,
}

#[derive(Debug)]
pub struct Pool {
    first: u32,
    last: u32,
    holders: BTreeMap<Mac, Entry>,
    declined: BTreeMap<Ipv4Addr, u64>,
}

impl Pool {
    /// Both ends belong to the pool. A longer range is cut to `POOL_LEN_MAX`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Pool {
        let first = u32::from(first);
        let last = u32::from(last).min(first.saturating_add(POOL_LEN_MAX - 1));
        Pool {
            first,
            last,
            holders: BTreeMap::new(),
            declined: BTreeMap::new(),
        }
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    /// The address that belongs to this station, if any does.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.holders.get(&mac).map(|entry| entry.address)
    }

    /// Sets an address aside: the station's own, else what it wishes, else any.
    pub fn offer(&mut self, mac: Mac, wish: Option<Ipv4Addr>, now_ms: u64) -> Option<Ipv4Addr> {
        self.declined.retain(|_, until_ms| *until_ms > now_ms);
        if let Some(entry) = self.holders.get_mut(&mac) {
            entry.until_ms = entry.until_ms.max(now_ms + OFFER_MS);
            return Some(entry.address);
        }
        let wish = wish.filter(|address| self.is_free(*address));
        let address = wish
            .or_else(|| self.first_free())
            .or_else(|| self.reclaim(now_ms))?;
        self.holders.insert(
            mac,
            Entry {
                address,
                until_ms: now_ms + OFFER_MS,
            },
        );
        Some(address)
    }

    /// Gives the address for good, until the lease ends. False: somebody else has it.
    pub fn commit(&mut self, mac: Mac, address: Ipv4Addr, until_ms: u64) -> bool {
        let own = self.address_of(mac) == Some(address);
        if !own && !self.is_free(address) {
            return false;
        }
        self.holders.insert(mac, Entry { address, until_ms });
        true
    }

    /// The station is done with it, or chose another server. It stays the station's favourite.
    pub fn release(&mut self, mac: Mac, now_ms: u64) {
        if let Some(entry) = self.holders.get_mut(&mac) {
            entry.until_ms = now_ms;
        }
    }

    /// Somebody else answers at the station's address: nobody gets it for a while.
    pub fn decline(&mut self, mac: Mac, now_ms: u64) {
        if let Some(entry) = self.holders.remove(&mac) {
            self.declined.insert(entry.address, now_ms + DECLINED_MS);
        }
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && !self.declined.contains_key(&address)
            && !self.holders.values().any(|entry| entry.address == address)
    }

    fn first_free(&self) -> Option<Ipv4Addr> {
        (self.first..=self.last)
            .map(Ipv4Addr::from)
            .find(|address| self.is_free(*address))
    }

    /// Takes the address whose lease ended longest ago.
    fn reclaim(&mut self, now_ms: u64) -> Option<Ipv4Addr> {
        let ended = self
            .holders
            .iter()
            .filter(|(_, entry)| entry.until_ms <= now_ms);
        let (mac, entry) = ended.min_by_key(|(_, entry)| entry.until_ms)?;
        let (mac, address) = (*mac, entry.address);
        self.holders.remove(&mac);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    const LAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn a_station_gets_its_old_address_back() {
        let mut pool = Pool::new(FIRST, LAST);
        assert_eq!(pool.offer(mac(1), None, 0), Some(FIRST));
        assert!(pool.commit(mac(1), FIRST, 1000));
        pool.release(mac(1), 500);
        assert_eq!(
            pool.offer(mac(2), None, 600),
            Some(LAST),
            "a fresh one goes first"
        );
        assert_eq!(pool.offer(mac(1), None, 700), Some(FIRST));
    }

    #[test]
    fn a_wish_is_granted_when_it_is_free() {
        let mut pool = Pool::new(FIRST, LAST);
        assert_eq!(pool.offer(mac(1), Some(LAST), 0), Some(LAST));
        assert_eq!(pool.offer(mac(2), Some(LAST), 0), Some(FIRST));
        assert!(!pool.commit(mac(2), LAST, 1000), "it is taken");
    }

    #[test]
    fn the_lease_that_ended_longest_ago_is_reclaimed() {
        let mut pool = Pool::new(FIRST, LAST);
        assert!(pool.commit(mac(1), FIRST, 2000));
        assert!(pool.commit(mac(2), LAST, 1000));
        assert_eq!(pool.offer(mac(3), None, 500), None, "both are held");
        assert_eq!(pool.offer(mac(3), None, 3000), Some(LAST));
        assert_eq!(pool.address_of(mac(2)), None);
    }

    #[test]
    fn a_declined_address_rests() {
        let mut pool = Pool::new(FIRST, LAST);
        assert!(pool.commit(mac(1), FIRST, 2000));
        pool.decline(mac(1), 0);
        assert_eq!(pool.offer(mac(1), Some(FIRST), 1), Some(LAST));
        assert_eq!(
            pool.offer(mac(2), Some(FIRST), DECLINED_MS + 1),
            Some(FIRST)
        );
    }
}
