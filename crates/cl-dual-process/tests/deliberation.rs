//! Search, and when it is worth it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use cl_dual_process::search::{Problem, Search};
use cl_dual_process::sofai::{Choice, Metacognition, MetacognitionConfig, Why};
use proptest::prelude::*;

/// A small graph with costs, and an estimate that is a part of the true distance.
struct Graph {
    edges: Vec<(usize, usize, u8)>,
    goal: usize,
    at_least: Vec<f64>,
}

impl Problem for Graph {
    type State = usize;
    type Action = usize;

    fn successors(&self, at: &usize) -> Vec<(usize, usize, f64)> {
        let from_here = self.edges.iter().filter(|edge| edge.0 == *at);
        from_here.map(|&(_, to, cost)| (to, to, f64::from(cost))).collect()
    }

    fn is_goal(&self, at: &usize) -> bool {
        *at == self.goal
    }

    fn at_least(&self, at: &usize) -> f64 {
        self.at_least[*at]
    }
}

const NODES: usize = 8;

/// Bellman and Ford, to the goal.
fn distances(edges: &[(usize, usize, u8)], goal: usize) -> Vec<f64> {
    let mut distance = vec![f64::INFINITY; NODES];
    distance[goal] = 0.0;
    for _ in 0..NODES {
        for &(from, to, cost) in edges {
            distance[from] = distance[from].min(distance[to] + f64::from(cost));
        }
    }
    distance
}

proptest! {
    /// Stopped after each state, it never loses a plan and never gets a worse one; in the end it has the best, whatever the weight.
    #[test]
    fn a_search_ends_with_the_best_plan(
        edges in proptest::collection::vec((0..NODES, 0..NODES, any::<u8>()), 0..30),
        part in 0.0..=1.0f64,
        weight in 1.0..5.0f64,
    ) {
        let goal = NODES - 1;
        let distance = distances(&edges, goal);
        let at_least = distance.iter().map(|d| if d.is_finite() { part * d } else { 1.0 }).collect();
        let costs: HashMap<(usize, usize), f64> = edges.iter().fold(HashMap::new(), |mut all, &(a, b, cost)| {
            let least = all.entry((a, b)).or_insert(f64::INFINITY);
            *least = least.min(f64::from(cost));
            all
        });
        let mut search = Search::new(Graph { edges, goal, at_least }, 0, weight).unwrap();
        let mut last = f64::INFINITY;
        while !search.is_over() {
            search.advance(1).unwrap();
            let Some(plan) = search.best() else {
                prop_assert!(last.is_infinite());
                continue;
            };
            prop_assert!(plan.cost <= last);
            last = plan.cost;
            // It is a way from the start to the goal, and costs not more than it says.
            let mut at = 0;
            let mut sum = 0.0;
            for &to in &plan.actions {
                sum += costs[&(at, to)];
                at = to;
            }
            prop_assert!(at == goal && sum <= plan.cost + 1e-9);
        }
        prop_assert!(search.expanded() <= 1000);
        match search.best() {
            Some(plan) => prop_assert!(plan.optimal && (plan.cost - distance[0]).abs() < 1e-9),
            None => prop_assert!(distance[0].is_infinite()),
        }
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let graph = |cost: f64| {
        struct Loop(f64);
        impl Problem for Loop {
            type State = u8;
            type Action = ();
            fn successors(&self, at: &u8) -> Vec<((), u8, f64)> {
                vec![((), at + 1, self.0)]
            }
            fn is_goal(&self, at: &u8) -> bool {
                *at == 3
            }
        }
        Search::new(Loop(cost), 0, 1.0).unwrap().advance(9)
    };
    assert!(graph(1.0).is_ok());
    assert!(graph(-1.0).unwrap_err().to_string().contains("-1"));
    assert!(graph(f64::NAN).unwrap_err().to_string().contains("NaN"));
    let none = Graph { edges: vec![], goal: 1, at_least: vec![0.0; NODES] };
    assert!(Search::new(none, 0, 0.5).unwrap_err().to_string().contains("0.5"));
}

#[test]
fn experience_decides() {
    let config = MetacognitionConfig { least_experience: 2, price: 0.01, recency: 0.0 };
    let mut meta = Metacognition::new(config).unwrap();
    let far = f64::INFINITY;
    assert_eq!(meta.choose(&"maze", None, far).unwrap(), Choice::Slow(Why::NoAnswer));
    assert_eq!(meta.choose(&"maze", Some(1.0), far).unwrap(), Choice::Slow(Why::Inexperience));
    meta.learn_slow("maze", 1.0, 20.0).unwrap();
    meta.learn_fast("maze", 0.9).unwrap();
    meta.learn_fast("maze", 0.9).unwrap();
    // What System 2 would add is 0.1, and costs 0.2.
    assert_eq!(meta.choose(&"maze", Some(1.0), far).unwrap(), Choice::Fast(Why::Worth));
    // Of an answer that it is half sure of, it would add 0.55.
    assert_eq!(meta.choose(&"maze", Some(0.5), far).unwrap(), Choice::Slow(Why::Worth));
    assert_eq!(meta.choose(&"maze", Some(0.5), 19.0).unwrap(), Choice::Fast(Why::NoTime));
    assert_eq!(
        meta.choose(&"maze", None, 19.0).unwrap(),
        Choice::Slow(Why::NoAnswer),
        "there is nothing else"
    );
    // A kind that is new: System 2 is known from others.
    assert_eq!(meta.choose(&"house", Some(1.0), 19.0).unwrap(), Choice::Fast(Why::NoTime));
    let [fast, slow] = meta.experience(&"maze");
    assert_eq!((fast.times, slow.times, slow.cost), (2, 1, 20.0));
    assert!((fast.quality - 0.9).abs() < 1e-12);
    let saved = serde_json::to_string(&meta).unwrap();
    let restored: Metacognition<&str> = serde_json::from_str(&saved).unwrap();
    assert_eq!(restored.experience(&"maze"), meta.experience(&"maze"));
}

/// With recency a System 1 that has become bad is noticed; with a plain mean it is trusted much longer.
#[test]
fn a_world_that_changes_is_noticed() {
    let until_noticed = |recency| {
        let mut meta =
            Metacognition::new(MetacognitionConfig { recency, price: 0.002, ..Default::default() }).unwrap();
        meta.learn_slow(0, 1.0, 100.0).unwrap();
        (0..100).for_each(|_| meta.learn_fast(0, 1.0).unwrap());
        let trusted =
            |meta: &Metacognition<i32>| matches!(meta.choose(&0, Some(1.0), 1e9).unwrap(), Choice::Fast(_));
        let mut failures = 0;
        while trusted(&meta) {
            meta.learn_fast(0, 0.0).unwrap();
            failures += 1;
        }
        failures
    };
    assert_eq!((until_noticed(0.1), until_noticed(0.0)), (3, 26));
}

#[test]
fn experience_that_cannot_be_is_refused() {
    let mut meta = Metacognition::new(MetacognitionConfig::default()).unwrap();
    assert!(meta.learn_fast(0, 1.5).unwrap_err().to_string().contains("1.5"));
    assert!(meta.learn_slow(0, 0.5, f64::INFINITY).is_err());
    assert!(meta.choose(&0, Some(f64::NAN), 1.0).is_err());
    assert!(meta.choose(&0, Some(0.5), f64::NAN).is_err());
    assert!(Metacognition::<i32>::new(MetacognitionConfig { price: -1.0, ..Default::default() }).is_err());
    assert!(Metacognition::<i32>::new(MetacognitionConfig { recency: 2.0, ..Default::default() }).is_err());
}
