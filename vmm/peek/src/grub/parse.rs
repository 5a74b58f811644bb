//! GRUB's script language: text to statements.
//!
//! Does:      words with quotes and variables, commands with a block, if, for, while, until,
//!            functions.
//! Does not:  run anything (`run`), or complain: what can't be read ends the script there, as a
//!            menu that is half there still boots.
//! Bounds:    `DEPTH_MAX` blocks inside each other; the text's length bounds the rest.
//! Trusts:    nothing: a guest wrote the text.
//! Start at:  `parse`.

use std::rc::Rc;

/// Blocks inside each other; generated files have 4.
const DEPTH_MAX: usize = 24;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// A variable; not quoted, its value falls into words.
    Variable {
        name: String,
        quoted: bool,
    },
}

/// A word before its variables are replaced. Without pieces it is an empty string in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
    /// Whether any quote or backslash is in it: then it is no keyword, and stays when empty.
    quoted: bool,
}

pub(super) type Block = Rc<[Statement]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Command {
        words: Vec<Word>,
        block: Option<Block>,
    },
    If {
        arms: Vec<(Block, Block)>,
        otherwise: Option<Block>,
    },
    For {
        name: String,
        words: Vec<Word>,
        body: Block,
    },
    Loop {
        until: bool,
        condition: Block,
        body: Block,
    },
    Function {
        name: String,
        body: Block,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    End,
    Open,
    Close,
}

/// The statements of a script, as far as it can be read.
pub(super) fn parse(text: &str) -> Block {
    let tokens = tokens(text);
    let mut parser = Parser {
        tokens: &tokens,
        depth: 0,
    };
    let mut all = Vec::new();
    while !parser.tokens.is_empty() {
        all.extend(parser.list(&[]).iter().cloned());
        parser.skip(); // a `fi` or `}` without a beginning
    }
    all.into()
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn skip(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    /// The unquoted word at the front.
    fn keyword(&self) -> Option<&str> {
        match self.tokens.first()? {
            Token::Word(word) => word.plain(),
            Token::Open | Token::Close | Token::End => None,
        }
    }

    /// Eats a word if it is the next.
    fn eat(&mut self, word: &str) -> bool {
        let found = self.keyword() == Some(word);
        if found {
            self.skip();
        }
        found
    }

    /// Statements up to one of these keywords, which stays, or to a closing brace.
    fn list(&mut self, ends: &[&str]) -> Block {
        let mut statements = Vec::new();
        self.depth += 1;
        while let Some(token) = self.tokens.first() {
            match token {
                Token::End | Token::Open => drop(self.skip()),
                Token::Close => break,
                Token::Word(word) => {
                    let plain = word.plain().unwrap_or("");
                    let stray = ["then", "else", "elif", "fi", "do", "done"].contains(&plain);
                    if ends.contains(&plain) || stray {
                        break;
                    }
                    if self.depth > DEPTH_MAX {
                        self.tokens = &[];
                        break;
                    }
                    statements.push(self.statement());
                }
            }
        }
        self.depth -= 1;
        statements.into()
    }

    fn statement(&mut self) -> Statement {
        match self.keyword() {
            Some("if") => self.conditional(),
            Some("for") => self.repeated(),
            Some(word @ ("while" | "until")) => {
                let until = word == "until";
                self.skip();
                let condition = self.list(&["do"]);
                self.eat("do");
                let body = self.list(&["done"]);
                self.eat("done");
                Statement::Loop {
                    until,
                    condition,
                    body,
                }
            }
            Some("function") => {
                self.skip();
                let name = self.keyword().unwrap_or("").to_owned();
                self.skip();
                let body = self.braces().unwrap_or_else(|| Rc::from([]));
                Statement::Function { name, body }
            }
            _ => self.command(),
        }
    }

    fn conditional(&mut self) -> Statement {
        let mut arms = Vec::new();
        let mut otherwise = None;
        self.skip();
        loop {
            let condition = self.list(&["then"]);
            self.eat("then");
            let body = self.list(&["elif", "else", "fi"]);
            arms.push((condition, body));
            if self.eat("elif") {
                continue;
            }
            if self.eat("else") {
                otherwise = Some(self.list(&["fi"]));
            }
            self.eat("fi");
            return Statement::If { arms, otherwise };
        }
    }

    fn repeated(&mut self) -> Statement {
        self.skip();
        let name = self.keyword().unwrap_or("").to_owned();
        self.skip();
        self.eat("in");
        let words = self.words();
        self.list(&["do"]);
        self.eat("do");
        let body = self.list(&["done"]);
        self.eat("done");
        Statement::For { name, words, body }
    }

    fn command(&mut self) -> Statement {
        let words = self.words();
        let block = self.braces();
        Statement::Command { words, block }
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.first() {
            words.push(word.clone());
            self.skip();
        }
        words
    }

    /// `{ ... }`, if it is next.
    fn braces(&mut self) -> Option<Block> {
        let ends = self
            .tokens
            .iter()
            .take_while(|token| **token == Token::End)
            .count();
        if self.tokens.get(ends) != Some(&Token::Open) || ends > 1 {
            return None;
        }
        self.tokens = &self.tokens[ends + 1..];
        let mut body = Vec::new();
        loop {
            body.extend(self.list(&[]).iter().cloned());
            match self.skip() {
                None | Some(Token::Close) => return Some(body.into()),
                Some(_) => {} // a `fi` without an `if`
            }
        }
    }
}

impl Word {
    /// Its text, if nothing in it is quoted or a variable.
    fn plain(&self) -> Option<&str> {
        match (&self.pieces[..], self.quoted) {
            ([Piece::Text(text)], false) => Some(text),
            _ => None,
        }
    }

    /// Whether it stays a word when all its variables are empty.
    pub(super) fn stays(&self) -> bool {
        self.quoted
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut letters = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(letter) = letters.peek().copied() {
        match letter {
            '\n' | ';' => {
                letters.next();
                tokens.push(Token::End);
            }
            '#' => while letters.next_if(|letter| *letter != '\n').is_some() {},
            letter if letter.is_whitespace() => drop(letters.next()),
            _ => {
                let word = word(&mut letters);
                tokens.push(match word.plain() {
                    Some("{") => Token::Open,
                    Some("}") => Token::Close,
                    _ => Token::Word(word),
                });
            }
        }
    }
    tokens
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// One word. At least one letter is taken.
fn word(letters: &mut Letters<'_>) -> Word {
    let mut word = Word {
        pieces: Vec::new(),
        quoted: false,
    };
    while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace() && *letter != ';') {
        match letter {
            '\'' => {
                word.quoted = true;
                while let Some(letter) = letters.next().filter(|letter| *letter != '\'') {
                    word.push(letter);
                }
            }
            '"' => {
                word.quoted = true;
                double_quoted(letters, &mut word);
            }
            '\\' => match letters.next() {
                Some('\n') | None => {} // a line goes on
                Some(letter) => {
                    word.quoted = true;
                    word.push(letter);
                }
            },
            '$' => variable(letters, &mut word, false),
            letter => word.push(letter),
        }
    }
    word
}

fn double_quoted(letters: &mut Letters<'_>, word: &mut Word) {
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return,
            '$' => variable(letters, word, true),
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter @ ('"' | '$' | '\\')) => word.push(letter),
                Some(letter) => {
                    word.push('\\');
                    word.push(letter);
                }
            },
            letter => word.push(letter),
        }
    }
}

/// After a dollar sign.
fn variable(letters: &mut Letters<'_>, word: &mut Word, quoted: bool) {
    let mut name = String::new();
    if letters.next_if_eq(&'{').is_some() {
        while let Some(letter) = letters.next().filter(|letter| *letter != '}') {
            name.push(letter);
        }
    } else {
        let part = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        while let Some(letter) = letters.next_if(part) {
            name.push(letter);
        }
        if name.is_empty() {
            name.extend(letters.next_if(|letter| "?*#@".contains(*letter)));
        }
    }
    match name.is_empty() {
        true => word.push('$'),
        false => word.pieces.push(Piece::Variable { name, quoted }),
    }
}

impl Word {
    fn push(&mut self, letter: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(letter),
            _ => self.pieces.push(Piece::Text(letter.into())),
        }
    }
}
