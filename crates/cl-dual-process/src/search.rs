//! Search over a symbolic model, which can be stopped at any time.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

use cl_core::{Error, Result};

/// A model of what actions lead to.
pub trait Problem {
    /// Where one can be.
    type State: Clone + Eq + Hash;
    /// What one can do.
    type Action: Clone;

    /// What can be done in a state: the action, where it leads, and what it costs, 0 or more.
    fn successors(&self, state: &Self::State) -> Vec<(Self::Action, Self::State, f64)>;

    /// Whether nothing is left to do.
    fn is_goal(&self, state: &Self::State) -> bool;

    /// What it costs at least from here to a goal. 0, which is always right, makes the search uniform.
    fn at_least(&self, state: &Self::State) -> f64 {
        let _ = state;
        0.0
    }
}

/// Actions that lead to a goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<A> {
    /// In order; none where the start is a goal.
    pub actions: Vec<A>,
    /// Of all of them together.
    pub cost: f64,
    /// Whether no plan costs less, if [`Problem::at_least`] tells the truth.
    pub optimal: bool,
}

/// Anytime weighted A* (Hansen & Zhou 2007): states are looked at in the order of g + w·h, which for w > 1 finds some plan soon, and the
/// search goes on for better ones until none can be. At any time there is the best plan so far.
///
/// ```
/// use cl_dual_process::search::{Problem, Search};
///
/// /// From a number to 100, by adding 1 or doubling.
/// struct Reach;
/// impl Problem for Reach {
///     type State = u32;
///     type Action = char;
///     fn successors(&self, n: &u32) -> Vec<(char, u32, f64)> {
///         [('+', n + 1), ('*', 2 * n)].into_iter().filter(|(_, n)| *n <= 100).map(|(a, n)| (a, n, 1.0)).collect()
///     }
///     fn is_goal(&self, n: &u32) -> bool {
///         *n == 100
///     }
/// }
/// let mut search = Search::new(Reach, 1, 1.0)?;
/// while !search.is_over() {
///     search.advance(10)?;
/// }
/// let plan = search.best().expect("there is a way");
/// assert!(plan.optimal && plan.cost == 8.0); // 100 is 1100100 in binary: six doublings, two additions
/// # Ok::<(), cl_core::Error>(())
/// ```
pub struct Search<P: Problem> {
    problem: P,
    weight: f64,
    open: BinaryHeap<Open<P::State>>,
    /// The least known cost of each state, and how it is reached.
    known: HashMap<P::State, Known<P>>,
    best: Option<(P::State, f64)>,
    expanded: usize,
    /// Breaks ties, so that equal searches go equal ways.
    pushed: u64,
}

struct Known<P: Problem> {
    cost: f64,
    from: Option<(P::State, P::Action)>,
}

struct Open<S> {
    priority: f64,
    cost: f64,
    at_least: f64,
    age: u64,
    state: S,
}

impl<S> Ord for Open<S> {
    /// The heap gives the greatest first: the least priority, then the newest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.priority.total_cmp(&self.priority).then(self.age.cmp(&other.age))
    }
}

impl<S> PartialOrd for Open<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> PartialEq for Open<S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S> Eq for Open<S> {}

impl<P: Problem> std::fmt::Debug for Search<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, best) = (self.open.len(), self.best.as_ref().map(|(_, cost)| cost));
        f.debug_struct("Search")
            .field("expanded", &self.expanded)
            .field("open", &open)
            .field("best", &best)
            .finish()
    }
}

impl<P: Problem> Search<P> {
    /// From a state on; `weight` is w, 1 for A*, whose first plan is the best.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a weight below 1, and an estimate that is below 0 or no number.
    pub fn new(problem: P, start: P::State, weight: f64) -> Result<Self> {
        if !(weight.is_finite() && weight >= 1.0) {
            return Err(Error::invalid(
                "weight",
                format!("{weight}: 1 for A*, more to find some plan sooner"),
            ));
        }
        let mut search = Self {
            problem,
            weight,
            open: BinaryHeap::new(),
            known: HashMap::new(),
            best: None,
            expanded: 0,
            pushed: 0,
        };
        search.reach(start, 0.0, None)?;
        Ok(search)
    }

    /// Looks at so many more states, or as many as there are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cost or an estimate that is below 0 or no number.
    pub fn advance(&mut self, states: usize) -> Result<()> {
        let until = self.expanded.saturating_add(states);
        while self.expanded < until {
            let Some(next) = self.open.pop() else { break };
            // A better way to it was found since, or no way through it is better than the best plan.
            if self.known.get(&next.state).is_some_and(|known| known.cost < next.cost)
                || !self.promises(next.cost + next.at_least)
            {
                continue;
            }
            self.expanded += 1;
            for (action, state, cost) in self.problem.successors(&next.state) {
                not_negative("cost of an action", cost)?;
                self.reach(state, next.cost + cost, Some((next.state.clone(), action)))?;
            }
        }
        Ok(())
    }

    fn promises(&self, cost: f64) -> bool {
        self.best.as_ref().is_none_or(|(_, best)| cost < *best)
    }

    fn reach(&mut self, state: P::State, cost: f64, from: Option<(P::State, P::Action)>) -> Result<()> {
        if self.known.get(&state).is_some_and(|known| known.cost <= cost) {
            return Ok(());
        }
        let at_least = self.problem.at_least(&state);
        not_negative("estimate", at_least)?;
        if !self.promises(cost + at_least) {
            return Ok(());
        }
        self.known.insert(state.clone(), Known { cost, from });
        if self.problem.is_goal(&state) {
            self.best = Some((state, cost));
            return Ok(());
        }
        let priority = cost + self.weight * at_least;
        self.open.push(Open { priority, cost, at_least, age: self.pushed, state });
        self.pushed += 1;
        Ok(())
    }

    /// Whether nothing is left that could be better than the best plan: it is optimal then, or there is none.
    pub fn is_over(&self) -> bool {
        !self.open.iter().any(|open| self.promises(open.cost + open.at_least))
    }

    /// The best plan so far.
    pub fn best(&self) -> Option<Plan<P::Action>> {
        let (mut at, cost) = self.best.as_ref().map(|(state, cost)| (state, *cost))?;
        let mut actions = Vec::new();
        while let Some((before, action)) = self.known.get(at).and_then(|known| known.from.as_ref()) {
            actions.push(action.clone());
            at = before;
        }
        actions.reverse();
        Some(Plan { actions, cost, optimal: self.is_over() })
    }

    /// How many states were looked at so far: what the search costs.
    pub fn expanded(&self) -> usize {
        self.expanded
    }
}

fn not_negative(what: &str, cost: f64) -> Result<()> {
    if cost >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{cost}: it must be 0 or more")))
}
