//! The words of a line of `pg_hba.conf`: fields apart by white space, each a list apart by commas.

use std::str::Chars;

/// One word. A quoted one is a name and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) is_quoted: bool,
}

impl Token {
    /// The text of a word that may have a meaning of its own.
    pub(super) fn keyword(&self) -> Option<&str> {
        (!self.is_quoted).then_some(&self.text)
    }
}

/// The lines that say something: the number of the first one, from 1, and its fields. A backslash at the end of a line
/// goes on with the next.
pub(super) fn lines(text: &str) -> Vec<(usize, Vec<Vec<Token>>)> {
    let mut found = Vec::new();
    let mut source = text.split('\n').enumerate();
    while let Some((at, line)) = source.next() {
        let mut whole = line.strip_suffix('\r').unwrap_or(line).to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = source.next() else {
                break;
            };
            whole.push_str(next.strip_suffix('\r').unwrap_or(next));
        }
        let fields = fields(&whole);
        if !fields.is_empty() {
            found.push((at + 1, fields));
        }
    }
    found
}

fn fields(line: &str) -> Vec<Vec<Token>> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut rest = line.chars();
    while let Some((token, goes_on)) = next(&mut rest) {
        field.push(token);
        if !goes_on {
            fields.push(std::mem::take(&mut field));
        }
    }
    if !field.is_empty() {
        fields.push(field);
    }
    fields
}

/// The next word, and whether a comma follows it.
fn next(rest: &mut Chars<'_>) -> Option<(Token, bool)> {
    let mut text = String::new();
    let (mut is_quoted, mut inside, mut after_quote, mut begun) = (false, false, false, false);
    while let Some(c) = rest.next() {
        match c {
            '#' if !inside => {
                *rest = "".chars();
                break;
            }
            ',' if !inside => {
                if begun {
                    return Some((Token { text, is_quoted }, true));
                }
            }
            c if c.is_ascii_whitespace() && !inside => {
                if begun {
                    return Some((Token { text, is_quoted }, false));
                }
            }
            '"' => {
                is_quoted |= !begun;
                begun = true;
                inside = !inside;
                // Two of them inside are one.
                if inside && after_quote {
                    text.push('"');
                }
                after_quote = !inside;
                continue;
            }
            c => {
                begun = true;
                text.push(c);
            }
        }
        after_quote = false;
    }
    begun.then_some((Token { text, is_quoted }, false))
}
