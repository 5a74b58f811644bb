//! "Did you mean": the word nearest to a wrong one.
//!
//! Does:      edit distance with swaps of neighbours, over short words.
//! Bounds:    words over `WORD_CHARS_MAX` characters are never near anything.
//! Start at:  `nearest`.

/// Longer words cost too much to compare and are no typing mistakes.
const WORD_CHARS_MAX: usize = 80;

/// The candidate that a typing mistake may have turned into `word`. Equal words don't count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX + 1).collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut best = None;
    for candidate in candidates {
        let other: Vec<char> = candidate.chars().collect();
        if other.len() > WORD_CHARS_MAX {
            continue;
        }
        let mistakes = distance(&word, &other);
        let allowed = (word.len().max(other.len()) / 3).clamp(1, 4);
        if (1..=allowed).contains(&mistakes) && best.is_none_or(|(least, _)| mistakes < least) {
            best = Some((mistakes, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
