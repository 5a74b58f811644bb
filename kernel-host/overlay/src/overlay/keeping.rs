//! What this node keeps, and what it does while it can't.
//!
//! Start at:  `Overlay::into_saved`.

use super::Overlay;
use super::journal::Happening;
use protocol::Moment;
use protocol::peer::Life;

impl Overlay {
    pub(super) fn fence(&mut self, now: Moment, is_fenced: bool) {
        self.journal.note(now, Happening::Fenced { is_fenced });
        let mut cx = self.core.context(now);
        self.registers.set_fenced(&mut cx, is_fenced);
    }

    /// Ends it. What is left is all that a disk would hold: another overlay of the same node may
    /// start only with this, because guardians must not forget.
    pub fn into_saved(mut self, now: Moment) -> (Life, Vec<(String, Vec<u8>)>) {
        self.core.outbox.saves.clear(); // older than what follows
        self.saved_contacts.clear();
        self.save_contacts(now);
        self.save_seen(now);
        self.registers.save_all(&mut self.core.context(now));
        let saves = std::mem::take(&mut self.core.outbox.saves);
        let saves = saves.into_iter();
        let own = saves.filter_map(|save| Some((save.key, save.value?)));
        (self.life, self.store.saved().chain(own).collect())
    }
}
