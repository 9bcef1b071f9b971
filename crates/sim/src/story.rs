//! The story of one history, step by step, for whoever replays it.

/// Tells what happens, where somebody listens.
pub(crate) struct Story<'a> {
    listener: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> Story<'a> {
    pub fn new(listener: Option<&'a mut dyn FnMut(&str)>) -> Self {
        Story { listener }
    }

    /// Words are made only where somebody listens.
    pub fn tell(&mut self, words: impl FnOnce() -> String) {
        if let Some(listener) = &mut self.listener {
            listener(&words());
        }
    }
}
