//! A walker in a grid with cells that are better avoided. System 1 does what it did before in the same place, System 2 searches, and
//! experience decides which of them is asked.
//!
//! `cargo run --release -p cl-dual-process --example sofai_grid`

use std::collections::{HashMap, HashSet};

use cl_core::{Error, Result, Rng, rng};
use cl_dual_process::search::{Problem, Search};
use cl_dual_process::sofai::{Choice, Metacognition, MetacognitionConfig};
use rand::Rng as _;
use rand::seq::index;

type Cell = (i32, i32);

/// Rows and columns, walks, and steps after which a walk is given up.
const SIDE: i32 = 9;
const WALKS: usize = 400;
const STEPS: usize = 60;

/// What a step costs, and one into a cell that is better avoided besides.
const STEP: f64 = 1.0;
const VIOLATION: f64 = 12.0;

const MOVES: [Cell; 4] = [(0, 1), (1, 0), (0, -1), (-1, 0)];

/// The world: where to, and what to avoid.
#[derive(Clone)]
struct Grid {
    goal: Cell,
    avoid: HashSet<Cell>,
}

impl Grid {
    /// A quarter of the cells is better avoided.
    fn drawn(rng: &mut Rng) -> Self {
        let goal = (SIDE - 1, SIDE - 1);
        let cells = (SIDE * SIDE) as usize;
        let avoid = index::sample(rng, cells, cells / 4).into_iter();
        let avoid = avoid.map(|at| (at as i32 / SIDE, at as i32 % SIDE)).filter(|cell| *cell != goal);
        Self { goal, avoid: avoid.collect() }
    }

    /// Walls stop a step.
    fn step(&self, (row, column): Cell, (down, right): Cell) -> (Cell, f64) {
        let inside = |x: i32| x.clamp(0, SIDE - 1);
        let to = (inside(row + down), inside(column + right));
        (to, STEP + if self.avoid.contains(&to) { VIOLATION } else { 0.0 })
    }
}

impl Problem for Grid {
    type State = Cell;
    type Action = Cell;

    fn successors(&self, at: &Cell) -> Vec<(Cell, Cell, f64)> {
        MOVES.iter().map(|&step| (step, self.step(*at, step).0, self.step(*at, step).1)).collect()
    }

    fn is_goal(&self, at: &Cell) -> bool {
        *at == self.goal
    }

    fn at_least(&self, at: &Cell) -> f64 {
        STEP * f64::from((self.goal.0 - at.0).abs() + (self.goal.1 - at.1).abs())
    }
}

/// System 1: what was done in a cell on the cheapest walk through it.
#[derive(Default)]
struct Habits(HashMap<Cell, (Cell, f64)>);

impl Habits {
    /// How sure it is: not at all where it was never.
    fn answer(&self, at: Cell) -> Option<Cell> {
        self.0.get(&at).map(|(step, _)| *step)
    }

    /// Of a walk that came to its goal, from each of its cells on.
    fn learn(&mut self, walk: &[(Cell, Cell, f64)]) {
        let mut rest = 0.0;
        for &(at, step, cost) in walk.iter().rev() {
            rest += cost;
            let known = self.0.entry(at).or_insert((step, rest));
            if rest < known.1 {
                *known = (step, rest);
            }
        }
    }
}

/// Who walks.
#[derive(Clone, Copy, PartialEq)]
pub enum Walker {
    /// Habits, and a random step where there are none.
    Fast,
    /// A search from every cell.
    Slow,
    /// The loop.
    Both,
}

/// What came of the walks of one kind of walker, from one of them on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    /// Mean cost of a walk.
    pub cost: f64,
    /// Mean steps into cells that are better avoided.
    pub violations: f64,
    /// Mean states that System 2 looked at.
    pub expanded: f64,
    /// The part of the steps that were System 1's.
    pub fast: f64,
    /// The part of the walks that came to the goal.
    pub arrived: f64,
}

/// Walks from cells that are drawn, and the outcomes of each quarter of the walks.
///
/// # Errors
/// Costs that are no numbers.
pub fn walks(walker: Walker, seed: u64) -> Result<Vec<Outcome>> {
    let grid = Grid::drawn(&mut rng(seed, "grid"));
    let (mut starts, mut random) = (rng(seed, "starts"), rng(seed, "steps"));
    let mut habits = Habits::default();
    // A search looks at some tens of states: what it saves has to be more than a thousandth of its quality for each.
    let config = MetacognitionConfig { least_experience: 2, price: 1e-3, recency: 0.2 };
    let mut meta = Metacognition::new(config)?;
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let mut sum = Outcome::default();
        let (mut steps, mut by_habit) = (0.0, 0.0);
        for _ in 0..WALKS / 4 {
            let mut at = (starts.random_range(0..SIDE), starts.random_range(0..SIDE));
            let mut walk = Vec::new();
            while at != grid.goal && walk.len() < STEPS {
                let habit = habits.answer(at);
                let confidence = habit.map(|_| 1.0);
                let fast = match walker {
                    Walker::Fast => true,
                    Walker::Slow => false,
                    Walker::Both => matches!(meta.choose(&at, confidence, f64::INFINITY)?, Choice::Fast(_)),
                };
                let step = if fast {
                    by_habit += 1.0;
                    habit.unwrap_or_else(|| MOVES[random.random_range(0..MOVES.len())])
                } else {
                    let mut search = Search::new(grid.clone(), at, 1.0)?;
                    while !search.is_over() {
                        search.advance(1)?;
                    }
                    let plan = search.best().ok_or_else(|| Error::invalid("grid", "there is no way"))?;
                    let step = plan.actions[0];
                    sum.expanded += search.expanded() as f64;
                    meta.learn_slow(at, 1.0, search.expanded() as f64)?;
                    // Now it is known what the habit would have been worth: all, or what is left after the cost that it adds.
                    if let Some(habit) = habit {
                        let through = |step| -> Result<f64> {
                            let (to, cost) = grid.step(at, step);
                            let mut rest = Search::new(grid.clone(), to, 1.0)?;
                            rest.advance(usize::MAX)?;
                            Ok(cost + rest.best().map_or(f64::INFINITY, |plan| plan.cost))
                        };
                        meta.learn_fast(at, (plan.cost / through(habit)?).clamp(0.0, 1.0))?;
                    }
                    step
                };
                let (to, cost) = grid.step(at, step);
                sum.cost += cost;
                sum.violations += f64::from(u8::from(grid.avoid.contains(&to)));
                walk.push((at, step, cost));
                at = to;
            }
            steps += walk.len() as f64;
            if at == grid.goal {
                sum.arrived += 1.0;
                habits.learn(&walk);
            }
        }
        let n = (WALKS / 4) as f64;
        outcomes.push(Outcome {
            cost: sum.cost / n,
            violations: sum.violations / n,
            expanded: sum.expanded / n,
            arrived: sum.arrived / n,
            fast: by_habit / steps,
        });
    }
    Ok(outcomes)
}

/// Prints what each walker reaches.
///
/// # Errors
/// As [`walks`].
pub fn main() -> Result<()> {
    println!("{WALKS} walks in a grid of {SIDE} × {SIDE}, a quarter of the cells better avoided\n");
    println!("who                    walks   cost  violations  arrived  states searched  System 1");
    for (name, walker) in [("System 1", Walker::Fast), ("System 2", Walker::Slow), ("both", Walker::Both)] {
        for (quarter, outcome) in walks(walker, 0)?.iter().enumerate() {
            let from = quarter * WALKS / 4;
            let Outcome { cost, violations, expanded, fast, arrived } = outcome;
            println!(
                "{name:<16} {from:>5}–{:<5} {cost:>6.1}  {violations:>10.2}  {:>5.0} %  {expanded:>15.0}  {:>6.0} %",
                from + WALKS / 4,
                100.0 * arrived,
                100.0 * fast
            );
        }
    }
    Ok(())
}
