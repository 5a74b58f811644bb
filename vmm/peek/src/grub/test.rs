//! `[ ... ]`: the conditions that generated menus use.

/// What a condition may ask about files: does it exist, is it not empty, is it a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Exists,
    NotEmpty,
    Folder,
}

/// Judges the words between the brackets: terms joined by `-a`, which binds closer, and `-o`.
pub(super) fn judge(words: &[String], ask: &mut dyn FnMut(Ask, &str) -> bool) -> bool {
    let mut any = false;
    for alternative in words.split(|word| word == "-o") {
        // All terms are judged, so that what is asked does not depend on the answers.
        let all = alternative
            .split(|word| word == "-a")
            .map(|term| judge_term(term, ask))
            .fold(true, |all, one| all & one);
        any |= all;
    }
    any
}

fn judge_term(words: &[String], ask: &mut dyn FnMut(Ask, &str) -> bool) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let negations = words.iter().take_while(|word| **word == "!").count();
    // `[ ! ]` asks whether the text "!" is empty.
    let negations = if negations == words.len() {
        0
    } else {
        negations
    };
    let truth = match words[negations..] {
        [] | [""] => false,
        [_] => true,
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-e" | "-f", path] => ask(Ask::Exists, path),
        ["-s", path] => ask(Ask::NotEmpty, path),
        ["-d", path] => ask(Ask::Folder, path),
        [a, "=" | "==", b] => a == b,
        [a, "!=", b] => a != b,
        [a, "<", b] => a < b,
        [a, ">", b] => a > b,
        [a, operator, b] => compare(a, operator, b),
        _ => false,
    };
    truth ^ (negations % 2 == 1)
}

fn compare(a: &str, operator: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>()) else {
        return false;
    };
    match operator {
        "-eq" => a == b,
        "-ne" => a != b,
        "-lt" => a < b,
        "-le" => a <= b,
        "-gt" => a > b,
        "-ge" => a >= b,
        _ => false,
    }
}
