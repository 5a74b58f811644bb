//! Finds a text in a stream, also across the seams of its pieces.
//!
//! Start at:  `Finder::feed`.

/// Looks for one text.
#[derive(Debug)]
pub(super) struct Finder {
    wanted: Vec<u8>,
    /// The end of what came before, shorter than the text.
    tail: Vec<u8>,
}

impl Finder {
    pub fn new(wanted: &str) -> Self {
        Self {
            wanted: wanted.as_bytes().to_vec(),
            tail: Vec::new(),
        }
    }

    /// Whether the text ends in this piece.
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        if self.wanted.is_empty() {
            return true;
        }
        self.tail.extend_from_slice(piece);
        let found = self
            .tail
            .windows(self.wanted.len())
            .any(|part| part == self.wanted);
        let keep = (self.wanted.len() - 1).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Finder;

    #[test]
    fn a_text_is_found_across_seams_and_only_when_it_is_whole() {
        for seam in 1..6 {
            let stream = b"..login: $";
            let mut finder = Finder::new("login:");
            let mut found = Vec::new();
            for piece in stream.chunks(seam) {
                found.push(finder.feed(piece));
            }
            assert_eq!(
                found.iter().filter(|found| **found).count(),
                1,
                "seam {seam}"
            );
        }
        assert!(!Finder::new("login:").feed(b"logon: login"));
        assert!(Finder::new("").feed(b""));
    }
}
