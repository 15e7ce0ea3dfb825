//! A cluster in virtual time: the shipped cores on a simulated network, from
//! one seed, with checkers that look after every step.
//!
//! The rooms build on each other in this order: [`api`], [`checks`], [`stations`], [`run`].

pub mod address_plan;
pub mod api;
pub mod checks;
pub mod clock;
pub mod random;
pub mod run;
pub mod stations;
