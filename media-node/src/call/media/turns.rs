//! Who speaks when: how long the agent takes to answer the caller, and how soon it is quiet when it
//! is interrupted. Of telephone speech only (G.711), whose loudness a table tells.
//!
//! ```text
//!  caller  ▆▆▆▆▆▆____________________▆▆▆▆▆▆▆
//!  agent   ______________▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆____
//!                ├response┤          ├──┤ reaction, by `clear`
//!                                       ├┤ effect, by the last word's end
//! ```

use std::time::{Duration, Instant};

use super::{Event, Media, Sink};
use crate::audio::level;

/// So much sound is a word; less is a click or a cough.
const WORD: Duration = Duration::from_millis(100);
/// After so long a pause something new is said.
const PAUSE: Duration = Duration::from_millis(400);
/// An agent that begins so soon after the caller's last sound talks over him.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How much louder than his room a caller speaks, in decibels.
const ABOVE_ROOM: u8 = 12;
/// An agent is audible from this level on, in -dBov.
const AUDIBLE: u8 = 50;

/// What a conversation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The agent answered so long after the caller's last sound, by what left for him.
    Response { after: Duration },
    /// The agent's `clear` cut off what it was saying.
    Interruption {
        /// From the caller's first sound to `clear`, when it was he who interrupted.
        reaction: Option<Duration>,
        /// From `clear` to the last packet of the word that was cut off.
        effect: Duration,
    },
}

/// Figures of a call's turns so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) responses: u64,
    pub(super) responded_after: Duration,
    pub(super) slowest_response: Duration,
    pub(super) interruptions: u64,
    pub(super) slowest_reaction: Option<Duration>,
    pub(super) slowest_effect: Duration,
}

pub(super) struct Turns {
    /// Powers from which the caller speaks, and the agent is heard.
    caller_speaks: u32,
    agent_speaks: u32,
    /// What the caller said last, unless the agent has answered.
    utterance: Option<Utterance>,
    agent_spoke_at: Option<Instant>,
    /// When `clear` came whose effect is still to be seen, and the reaction that it was.
    cleared: Option<(Instant, Option<Duration>)>,
    figures: Figures,
}

#[derive(Clone, Copy)]
struct Utterance {
    began: Instant,
    until: Instant,
    /// How much of it is sound.
    sound: Duration,
}

impl Utterance {
    fn is_word(&self) -> bool {
        self.sound >= WORD
    }
}

impl Turns {
    /// `room`: how loud it is behind the caller, in -dBov.
    pub(super) fn new(room: u8) -> Self {
        let mut turns = Self {
            caller_speaks: 0,
            agent_speaks: level::power_of(AUDIBLE),
            utterance: None,
            agent_spoke_at: None,
            cleared: None,
            figures: Figures::default(),
        };
        turns.set_room(room);
        turns
    }

    pub(super) fn set_room(&mut self, room: u8) {
        self.caller_speaks = level::power_of(room.saturating_sub(ABOVE_ROOM));
    }

    /// So much audio of the caller, of this mean power.
    pub(super) fn handle_caller(&mut self, now: Instant, power: u32, span: Duration) {
        if power < self.caller_speaks {
            return;
        }
        match &mut self.utterance {
            Some(said) if now.saturating_duration_since(said.until) < PAUSE => {
                said.until = now;
                said.sound += span;
            }
            said => *said = Some(Utterance { began: now, until: now, sound: span }),
        }
    }

    /// A frame of the agent's speech leaves, of this mean power.
    pub(super) fn handle_agent(&mut self, now: Instant, power: u32) -> Option<Turn> {
        if power < self.agent_speaks {
            return None;
        }
        let goes_on = |at| now.saturating_duration_since(at) < PAUSE;
        if self.agent_spoke_at.replace(now).is_some_and(goes_on) {
            return None;
        }
        let said = self.utterance.filter(Utterance::is_word)?;
        let after = now.saturating_duration_since(said.until);
        if after < AT_ONCE {
            return None;
        }
        self.utterance = None;
        self.figures.responses += 1;
        self.figures.responded_after += after;
        self.figures.slowest_response = self.figures.slowest_response.max(after);
        Some(Turn::Response { after })
    }

    /// The agent's speech is cut off; when `fades`, its last word is still to leave.
    fn handle_clear(&mut self, now: Instant, fades: bool) -> Option<Turn> {
        let talks = |at: &Instant| now.saturating_duration_since(*at) < PAUSE;
        self.agent_spoke_at.filter(talks)?;
        let interrupts = |said: &Utterance| said.is_word() && talks(&said.until);
        let reaction =
            self.utterance.filter(interrupts).map(|said| now.saturating_duration_since(said.began));
        self.cleared = Some((now, reaction));
        if fades { None } else { self.handle_last_word(now) }
    }

    /// What `clear` cut off has left.
    pub(super) fn handle_last_word(&mut self, now: Instant) -> Option<Turn> {
        let (cleared_at, reaction) = self.cleared.take()?;
        // Whatever comes now is said anew.
        self.agent_spoke_at = None;
        let effect = now.saturating_duration_since(cleared_at);
        self.figures.interruptions += 1;
        self.figures.slowest_reaction = self.figures.slowest_reaction.max(reaction);
        self.figures.slowest_effect = self.figures.slowest_effect.max(effect);
        Some(Turn::Interruption { reaction, effect })
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }
}

impl Media {
    pub(super) fn hear_interruption(&mut self, now: Instant, fades: bool, sink: &mut impl Sink) {
        if let Some(turn) = self.turns.handle_clear(now, fades) {
            sink.event(Event::Turn(turn));
        }
    }

    /// A frame of speech leaves, as the carrier hears it.
    pub(super) fn follow_agent(&mut self, now: Instant, payload: &[u8], sink: &mut impl Sink) {
        let Some(law) = self.codec.law() else { return };
        let interrupted = self.turns.handle_last_word(now);
        let answered = match interrupted {
            Some(_) => None,
            None => self.turns.handle_agent(now, level::power(law, payload)),
        };
        if let Some(turn) = interrupted.or(answered) {
            sink.event(Event::Turn(turn));
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;
    use crate::audio::comfort_noise::DEFAULT_LEVEL;

    const FRAME: Duration = Duration::from_millis(20);
    const LOUD: u32 = 4_000_000;
    const QUIET: u32 = 100;

    /// A conversation by frames: what each side sounds like in each.
    fn told(frames: &[(u32, u32)]) -> Vec<(u128, Turn)> {
        let start = Instant::now();
        let mut turns = Turns::new(DEFAULT_LEVEL);
        let mut told = Vec::new();
        for (n, (caller, agent)) in (0..).zip(frames) {
            let now = start + FRAME * n;
            turns.handle_caller(now, *caller, FRAME);
            told.extend(
                turns.handle_agent(now, *agent).map(|turn| ((now - start).as_millis(), turn)),
            );
        }
        told
    }

    fn frames(parts: &[(usize, u32, u32)]) -> Vec<(u32, u32)> {
        parts.iter().flat_map(|(count, caller, agent)| vec![(*caller, *agent); *count]).collect()
    }

    #[test]
    fn a_response_is_timed_from_the_callers_last_sound_to_the_agents_first() {
        let told = told(&frames(&[
            (25, LOUD, QUIET),
            (10, QUIET, QUIET), // a pause between two words
            (25, LOUD, QUIET),
            (40, QUIET, QUIET),
            (100, QUIET, LOUD),
            (10, QUIET, QUIET), // between two words of the agent
            (50, QUIET, LOUD),
        ]));
        let after = Duration::from_millis(41 * 20);
        assert_eq!(told, [(2000, Turn::Response { after })]);
    }

    #[test]
    fn clicks_greetings_and_talking_over_are_no_responses() {
        assert_eq!(told(&frames(&[(50, QUIET, LOUD)])), [], "a greeting");
        let click = frames(&[(2, LOUD, QUIET), (20, QUIET, QUIET), (50, QUIET, LOUD)]);
        assert_eq!(told(&click), []);
        let over = frames(&[(50, LOUD, QUIET), (50, LOUD, LOUD), (5, QUIET, LOUD)]);
        assert_eq!(told(&over), []);
    }

    #[test]
    fn an_interruption_has_a_reaction_and_an_effect() {
        let (start, mut turns) = (Instant::now(), Turns::new(DEFAULT_LEVEL));
        for n in 0..50 {
            let now = start + FRAME * n;
            let caller = if n < 25 { QUIET } else { LOUD };
            turns.handle_caller(now, caller, FRAME);
            turns.handle_agent(now, LOUD);
        }
        let cleared_at = start + FRAME * 50;
        assert_eq!(turns.handle_clear(cleared_at, true), None);
        let effect = Duration::from_millis(13);
        let told = turns.handle_last_word(cleared_at + effect);
        let reaction = Some(FRAME * 25);
        assert_eq!(told, Some(Turn::Interruption { reaction, effect }));
        assert_eq!(turns.handle_last_word(cleared_at + FRAME), None);
        // The caller goes on for two seconds, and is answered half a second later.
        for n in 51..150 {
            turns.handle_caller(start + FRAME * n, LOUD, FRAME);
        }
        let told = turns.handle_agent(start + FRAME * 174, LOUD);
        assert_eq!(told, Some(Turn::Response { after: FRAME * 25 }));
        let figures = turns.figures();
        assert_eq!((figures.responses, figures.interruptions), (1, 1));
        assert_eq!((figures.slowest_reaction, figures.slowest_effect), (reaction, effect));
    }

    #[test]
    fn a_clear_while_the_agent_is_quiet_interrupts_nothing() {
        let (start, mut turns) = (Instant::now(), Turns::new(DEFAULT_LEVEL));
        assert_eq!(turns.handle_clear(start, false), None);
        turns.handle_agent(start, LOUD);
        assert_eq!(turns.handle_clear(start + FRAME * 50, false), None);
        turns.handle_agent(start + FRAME * 60, LOUD);
        let told = turns.handle_clear(start + FRAME * 61, false);
        assert_eq!(told, Some(Turn::Interruption { reaction: None, effect: Duration::ZERO }));
    }
}
