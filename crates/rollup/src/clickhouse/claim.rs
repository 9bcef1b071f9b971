//! Claims: who writes, and how a lower generation is kept out.
//!
//! ```text
//!   claims   (1, 4)  (1, 5)  (2, 6)  <- (generation, session): the greatest writes
//! ```
//!
//! Whoever is handed its first epoch of a generation claims: a row with the next session, its generation,
//! and a token of the server's that nobody else has. It writes if the row is the greatest there is and no
//! other has its session. Only then it reads the commit in force, commits the same in its own session, and
//! builds on that. Whoever commits looks for a greater claim afterwards, and counts the commit only where
//! there is none. So a commit that was told to be durable was there before the next claim, and the next
//! writer has read it; all later ones of a lower session are passed over for good. Where a writer dies
//! between its claim and its first commit, a marker that was refused meanwhile may still be found by the
//! next one, like a marker whose answer was lost.

use std::sync::Arc;

use reckon_event::Epoch;

use super::rows::Claim;
use super::state::State;
use super::{Lost, Pending, Shared, Writer, statement};
use crate::sums::hot::Hot;
use crate::sums::line::{Decision, decide};
use crate::{Error, Refusal};

/// How often two who claim at the same moment try again.
const CLAIMS_MAX: u32 = 16;

impl Shared {
    /// Whether an epoch is taken, under a claim of its generation.
    pub(super) fn admit(&self, writer: &mut Writer, epoch: &Epoch) -> Result<Decision, Error> {
        if let Some(lost) = writer.lost_to.filter(|lost| epoch.generation <= lost.to.generation) {
            return Err(self.lost(lost));
        }
        let line = self.visible().line;
        let decision = decide(&line, epoch);
        let has_claim = writer.claim.is_some_and(|claim| claim.generation >= epoch.generation);
        if has_claim || matches!(decision, Err(Refusal::Fenced(_))) {
            return Ok(decision?);
        }
        if writer.claim.is_none() {
            // What is known may be old.
            self.reload(writer)?;
        }
        let line = self.visible().line;
        decide(&line, epoch)?;
        self.claim(writer, epoch.generation)?;
        let line = self.visible().line;
        Ok(decide(&line, epoch)?)
    }

    /// Claims to write for a generation, and takes over what was committed last.
    pub(super) fn claim(&self, writer: &mut Writer, generation: u32) -> Result<(), Error> {
        self.settle_pending(writer)?;
        for _ in 0..CLAIMS_MAX {
            let greatest = self.greatest_claim()?;
            if let Some(greatest) = greatest.filter(|claim| claim.generation > generation) {
                return Err(self.fenced_by(&greatest));
            }
            let session = greatest.map_or(1, |claim| claim.session + 1);
            let claim = Claim { session, generation, token: self.token()? };
            // Twice the same claim is the same claim.
            self.server.insert_often("claiming to write", "claims", &claim)?;
            let since = statement::fill(
                include_str!("sql/claims_since.sql"),
                &[("session", &session.to_string())],
            );
            let mut claims = self.server.read::<Claim>("reading claims", since)?;
            claims.dedup();
            if claims == [claim] {
                self.write_under(writer, Some(claim));
                (writer.runs, writer.is_swept, writer.lost_to) = (0, false, None);
                return self.take_over(writer, &claim);
            }
            if let Some(higher) = claims.first().filter(|first| first.generation > generation) {
                return Err(self.fenced_by(higher));
            }
        }
        Err(self.poisoned("others open this database over and over"))
    }

    fn write_under(&self, writer: &mut Writer, claim: Option<Claim>) {
        writer.claim = claim;
        self.visible_mut().claim = claim;
    }

    /// Builds on the commit in force: this store's own, or the one somebody else has made since. It is
    /// committed once more in the session of the claim: a marker of a lower session that comes in from
    /// here on, and is refused to whoever sent it, is passed over by everybody.
    fn take_over(&self, writer: &mut Writer, claim: &Claim) -> Result<(), Error> {
        if let Err(error) = self.install_newer() {
            // Nothing may be built on what is not known.
            self.write_under(writer, None);
            return Err(error);
        }
        self.know_of(claim.generation);
        let next = self.visible().state.next(claim.session);
        writer.pending = Some(Pending { next: Arc::new(next), segments: 0 });
        self.settle_pending(writer)
    }

    /// Shows the commit in force, where it is another than this store's.
    fn install_newer(&self) -> Result<(), Error> {
        let head = self.head()?;
        let is_known = head.commit() == self.visible().state.commit();
        if is_known { Ok(()) } else { self.install(head) }
    }

    /// Lower generations are fenced from here on.
    fn know_of(&self, generation: u32) {
        let line = &mut self.visible_mut().line;
        line.generation = line.generation.max(generation);
    }

    /// Reads what others have committed; only for a store that does not write.
    pub(super) fn reload(&self, writer: &Writer) -> Result<(), Error> {
        assert!(writer.claim.is_none(), "who writes knows the state");
        self.install_newer()?;
        if let Some(greatest) = self.greatest_claim()? {
            self.know_of(greatest.generation);
        }
        Ok(())
    }

    /// Shows a state that somebody else has committed, and lets go of what is only in memory.
    fn install(&self, state: State) -> Result<(), Error> {
        if state.names > self.names().len() as u64 {
            self.read_names()?;
        }
        let mut visible = self.visible_mut();
        visible.hot = Hot::new(self.options.segment_rows);
        visible.line = state.line;
        visible.newest = state.newest;
        visible.state = Arc::new(state);
        Ok(())
    }

    /// The claim that is greater than this store's; `None` while it may write.
    pub(super) fn greater_claim(&self, writer: &Writer) -> Result<Option<Claim>, Error> {
        let greatest = self.greatest_claim()?;
        Ok(greatest.filter(|greatest| writer.claim != Some(*greatest)))
    }

    /// Stops to write: somebody else does. What is only in memory is theirs to count.
    pub(super) fn give_way(&self, writer: &mut Writer, to: &Claim) -> Error {
        let own = writer.claim.map_or(0, |claim| claim.generation);
        self.write_under(writer, None);
        writer.pending = None;
        let lost = Lost { own, to: *to };
        writer.lost_to = Some(lost);
        // What is in memory must not be seen beside what the other one counts of it.
        {
            let mut visible = self.visible_mut();
            visible.hot = Hot::new(self.options.segment_rows);
            visible.line = visible.state.line;
            visible.newest = visible.state.newest;
            visible.line.generation = visible.line.generation.max(to.generation);
        }
        self.lost(lost)
    }

    /// What someone is told who still writes.
    pub(super) fn lost(&self, Lost { own, to }: Lost) -> Error {
        match to.generation > own {
            true => Refusal::Fenced(to.generation).into(),
            false => self.poisoned("another writer of this generation has taken over"),
        }
    }

    fn fenced_by(&self, greater: &Claim) -> Error {
        self.know_of(greater.generation);
        Refusal::Fenced(greater.generation).into()
    }

    pub(super) fn greatest_claim(&self) -> Result<Option<Claim>, Error> {
        let text = statement::fill(include_str!("sql/greatest_claim.sql"), &[]);
        Ok(self.server.read::<Claim>("reading claims", text)?.pop())
    }

    /// A number that nobody else is given.
    fn token(&self) -> Result<u64, Error> {
        let text = statement::fill(include_str!("sql/token.sql"), &[]);
        let tokens = self.server.read::<u64>("asking for a token", text)?;
        tokens.first().copied().ok_or_else(|| self.damaged("the server gives no token"))
    }

    /// Sends a commit whose outcome is open again, until it is known.
    pub(super) fn settle_pending(&self, writer: &mut Writer) -> Result<(), Error> {
        let Some(Pending { next, segments }) = &writer.pending else { return Ok(()) };
        let (next, segments) = (Arc::clone(next), *segments);
        self.put(writer, &next)?;
        writer.pending = None;
        self.show(writer, &next, segments);
        Ok(())
    }
}
