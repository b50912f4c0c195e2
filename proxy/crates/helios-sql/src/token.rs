//! Tokens: what the scanner makes and the walk takes.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted identifier.
    Word,
    /// `"…"`, with its quotes.
    Quoted,
    /// `U&"…"`, with a UESCAPE clause that follows.
    UnicodeQuoted,
    /// `$1`.
    Parameter,
    /// `'…'`, `E'…'`, `U&'…'` with its UESCAPE clause, `$tag$…$tag$`.
    Text,
    /// `B'…'`, `X'…'`, `N'…'`: literals that the grammar does not take for strings.
    Bits,
    /// An integer, decimal or real, without a sign.
    Number,
    /// An operator, or one of `.` `..` `:` `::` `:=` `[` `]`.
    Symbol,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// A hint comment.
    Hint,
    /// One byte that no token starts with.
    Junk,
    /// A quote or comment that does not end before the text does.
    Unfinished,
    /// The end of the text.
    End,
}

/// A token: what it is and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Kind {
    /// Whether it is one item of a shape wherever it stands.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Word
                | Self::Quoted
                | Self::Parameter
                | Self::Text
                | Self::Bits
                | Self::Number
                | Self::Symbol
                | Self::Comma
        )
    }
}

impl Token {
    /// No token.
    pub(crate) const NONE: Self = Self {
        kind: Kind::End,
        start: 0,
        end: 0,
    };
}
