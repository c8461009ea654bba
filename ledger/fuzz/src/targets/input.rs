//! Reading choices off the bytes of an input. When they are used up, every choice is zero.

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    pub fn short(&mut self) -> u64 {
        u64::from(self.byte()) << 8 | u64::from(self.byte())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of several, `None` of none.
    pub fn one_of<'b, T>(&mut self, choices: &'b [T]) -> Option<&'b T> {
        let choice = usize::from(self.byte());
        choices.get(choice.checked_rem(choices.len())?)
    }
}
