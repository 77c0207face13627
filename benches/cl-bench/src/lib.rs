//! Suites of published tables, the runner, the report

pub mod clock;
pub mod published;
pub mod report;
pub mod results;
pub mod runner;
pub mod speed;
pub mod suites;
