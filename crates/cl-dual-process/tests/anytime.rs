//! A System 2 that stalls, panics, fails or comes late. Nothing here is timed: whether it comes back is what a test decides.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use cl_core::{Error, Result};
use cl_dual_process::{Always, Anytime, Confidence, First, Never, System, Threshold, Why};

/// What a System 2 is told to do next.
enum Order {
    Answer,
    Fail,
    Short,
    Nan,
}

/// One that waits for orders, and says when it begins.
struct Obedient {
    orders: Mutex<Receiver<Order>>,
    began: Mutex<Sender<usize>>,
}

impl System for Obedient {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        self.began.lock().unwrap().send(x.dim(0)?).map_err(|_| Error::Interrupted)?;
        match self.orders.lock().map_err(|_| Error::Interrupted)?.recv() {
            Ok(Order::Answer) => Ok(Tensor::cat(&[&x.neg()?, x], 1)?),
            Ok(Order::Fail) => Err(Error::invalid("memory", "is empty")),
            Ok(Order::Short) => Ok(Tensor::zeros((x.dim(0)?, 5), x.dtype(), x.device())?),
            // Without the lock: a lock that was held in a panic is of no more use.
            Ok(Order::Nan) => Ok((Tensor::zeros((x.dim(0)?, 2), x.dtype(), x.device())? * f64::NAN)?),
            Err(_) => Err(Error::Interrupted),
        }
    }
}

fn obedient() -> (Obedient, Sender<Order>, Receiver<usize>) {
    let ((orders, inbox), (outbox, began)) = (channel(), channel());
    (Obedient { orders: Mutex::new(inbox), began: Mutex::new(outbox) }, orders, began)
}

fn fast(x: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::cat(&[x, &x.neg()?], 1)
}

fn x() -> Tensor {
    Tensor::new(&[[3f32], [0.1], [-3.0]], &Device::Cpu).unwrap()
}

fn classes(logits: &Tensor) -> Vec<u32> {
    logits.argmax(1).unwrap().to_vec1().unwrap()
}

/// So long that a test that waits for it would be noticed.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Beyond the margin, and before System 2 is told to answer.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(200)
}

#[test]
fn in_time_it_is_a_cascade() {
    let (slow, orders, began) = obedient();
    let doubtful = Threshold { score: Confidence::MaxSoftmax, above: 0.4 };
    let mut anytime = Anytime::new(fast, slow, doubtful).unwrap();
    orders.send(Order::Answer).unwrap();
    let answer = anytime.answer(&x(), far()).unwrap();
    assert_eq!((answer.why, answer.deferred), (Why::InTime, vec![1]));
    assert_eq!(began.recv().unwrap(), 1, "only the deferred row was sent");
    assert_eq!(classes(&answer.logits), [0, 1, 1], "System 2 turns the doubtful one over");
    let sure = Tensor::new(&[[9f32]], &Device::Cpu).unwrap();
    assert_eq!(anytime.answer(&sure, far()).unwrap().why, Why::NotDeferred);
    assert_eq!((anytime.counts().in_time, anytime.counts().not_deferred), (1, 1));
}

/// System 2 is blocked until the end of the test, and every request is answered, by System 1.
#[test]
fn one_that_stalls_costs_a_single_wait() {
    let (slow, orders, began) = obedient();
    let mut anytime = Anytime::new(fast, slow, Always).unwrap();
    let hurried = anytime.answer(&x(), Instant::now()).unwrap();
    assert_eq!((hurried.why, classes(&hurried.logits)), (Why::NoTime, vec![0, 0, 1]));
    assert!(began.try_recv().is_err(), "System 2 was not asked");
    let first = anytime.answer(&x(), soon()).unwrap();
    assert_eq!((first.why, classes(&first.logits)), (Why::Late, vec![0, 0, 1]));
    assert_eq!(began.recv().unwrap(), 3, "it is with System 2");
    assert!(anytime.behind().is_some());
    for _ in 0..1000 {
        // An hour is left, and nobody waits for it.
        let answer = anytime.answer(&x(), far()).unwrap();
        assert_eq!((answer.why, classes(&answer.logits)), (Why::Behind, vec![0, 0, 1]));
        assert_eq!(answer.deferred, [0, 1, 2], "it would have been deferred");
    }
    assert!(began.try_recv().is_err(), "System 2 was not asked again");
    let counts = anytime.counts();
    assert_eq!((counts.no_time, counts.late, counts.behind), (1, 1, 1000));

    // It comes back: that answer is dropped, and the next request is sent on.
    orders.send(Order::Answer).unwrap();
    while anytime.behind().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(anytime.counts().dropped, 1);
    orders.send(Order::Answer).unwrap();
    let answer = anytime.answer(&x(), far()).unwrap();
    assert_eq!((answer.why, classes(&answer.logits)), (Why::InTime, vec![1, 1, 0]));
}

#[test]
fn an_error_is_no_miss() {
    let (slow, orders, _began) = obedient();
    let mut anytime = Anytime::new(fast, slow, Always).unwrap();
    orders.send(Order::Fail).unwrap();
    let answer = anytime.answer(&x(), far()).unwrap();
    assert_eq!(
        (answer.why, classes(&answer.logits)),
        (Why::Failed("memory: is empty".into()), vec![0, 0, 1])
    );
    orders.send(Order::Answer).unwrap();
    assert_eq!(anytime.answer(&x(), far()).unwrap().why, Why::InTime, "it is asked again");
    for (order, what) in [(Order::Short, "[3, 5]"), (Order::Nan, "NaN")] {
        orders.send(order).unwrap();
        let answer = anytime.answer(&x(), far()).unwrap();
        assert_eq!(classes(&answer.logits), [0, 0, 1]);
        let Why::Failed(said) = answer.why else { panic!("{:?}", answer.why) };
        assert!(said.contains("System 2") && said.contains(what), "{said}");
    }
    assert_eq!(anytime.counts().failed, 3);
    orders.send(Order::Answer).unwrap();
    assert_eq!(anytime.answer(&x(), far()).unwrap().why, Why::InTime);
}

#[test]
fn a_panic_is_caught_and_told() {
    let times = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&times);
    let slow = cl_dual_process::from_fn(move |x: &Tensor| {
        let time = {
            let mut times = counted.lock().unwrap();
            *times += 1;
            *times
        };
        if time == 1 {
            std::panic::resume_unwind(Box::new("out of luck"));
        }
        Ok(Tensor::cat(&[&x.neg()?, x], 1)?)
    });
    let mut anytime = Anytime::new(fast, slow, Always).unwrap();
    let answer = anytime.answer(&x(), far()).unwrap();
    assert_eq!(answer.why, Why::Failed("System 2 panicked: out of luck".into()));
    assert_eq!(classes(&answer.logits), [0, 0, 1]);
    assert_eq!(anytime.answer(&x(), far()).unwrap().why, Why::InTime);
    assert_eq!((anytime.counts().failed, *times.lock().unwrap()), (1, 2));
}

/// Whoever drops it does not wait for a System 2 that stalls.
#[test]
fn dropping_it_waits_for_nothing() {
    let (slow, orders, began) = obedient();
    let mut anytime = Anytime::new(fast, slow, Always).unwrap();
    anytime.answer(&x(), soon()).unwrap();
    began.recv().unwrap();
    drop(anytime);
    // Here already; and the thread ends with its request.
    orders.send(Order::Answer).unwrap();
    assert!(began.recv().is_err());
}

#[test]
fn errors_of_system_1_are_errors() {
    let (slow, _orders, _began) = obedient();
    let fails = |_: &Tensor| -> candle_core::Result<Tensor> { candle_core::bail!("no input") };
    assert!(Anytime::new(fails, slow, Never).unwrap().answer(&x(), far()).is_err());
    let (slow, _orders, _began) = obedient();
    let wrong = |_: &First| Ok(vec![true; 7]);
    assert!(Anytime::new(fast, slow, wrong).unwrap().answer(&x(), far()).is_err());
}
