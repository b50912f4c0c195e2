//! Faults on purpose, one for each group of the protocol checklist. `make mutations` builds the engine with the feature
//! `mutations`, seeds one fault after the other by the variable HELIOS_MUTATION, and demands that a test notices.
//! Without that feature no fault can be seeded, and nothing of this is left in the engine.

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Clear text behind a request for TLS is not looked for.
    PlainText,
    /// An error leaves the rest of its batch in the FIFO.
    FailedBatch,
    /// A client hears of the loss of its server from us as well, when the server has told it.
    SecondError,
    /// A CancelRequest needs no key.
    AnyKey,
    /// A server is given to the next client as the last one left it.
    SkipReset,
}

impl Fault {
    /// Whether this one is seeded.
    #[cfg(feature = "mutations")]
    pub(crate) fn is_seeded(self) -> bool {
        static SEEDED: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| std::env::var("HELIOS_MUTATION").unwrap_or_default());
        *SEEDED == format!("{self:?}")
    }

    /// It is not.
    #[cfg(not(feature = "mutations"))]
    pub(crate) const fn is_seeded(self) -> bool {
        false
    }
}
