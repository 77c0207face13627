//! Split streams: each task has classes of its own.

use std::sync::Arc;

use cl_core::{Error, Result, Units};

use super::{ClassOrder, Scenario, Stream, Task, Transform, labels};
use crate::{DataSet, Samples};

/// Hands out the classes to `tasks` tasks, as many to each (van de Ven et al. 2022).
///
/// The class at place `p` of the order goes to task `p / k`, where `k = classes / tasks`. Labels:
///
/// | scenario | label of a sample | output units | decided among |
/// |---|---|---|---|
/// | task | `p` | all classes | the task's block of `k` |
/// | domain | `p mod k` | `k` | all |
/// | class | `p` | all classes | all |
///
/// Samples keep the order they have in the data set.
///
/// # Errors
/// [`Error::Invalid`] unless `tasks` divides the number of classes, or if the order does not name each class
/// once.
///
/// ```
/// use cl_data::{ClassOrder, Scenario, split};
///
/// let digits = cl_data::load("digits")?;
/// let stream = split(&digits, 5, Scenario::Domain, ClassOrder::Fixed)?;
/// assert_eq!(stream.outputs, 2);
/// assert_eq!(stream.tasks[3].classes, [6, 7]);
/// # Ok::<(), cl_core::Error>(())
/// ```
pub fn split(data: &DataSet, tasks: usize, scenario: Scenario, order: ClassOrder) -> Result<Stream> {
    if tasks == 0 || data.classes == 0 || !data.classes.is_multiple_of(tasks) {
        let why = format!("{tasks} tasks cannot share {} classes evenly", data.classes);
        return Err(Error::invalid("tasks", why));
    }
    let share = data.classes / tasks;
    let class_order = order.of(data.classes)?;
    let mut place = vec![0; data.classes];
    for (position, &class) in class_order.iter().enumerate() {
        place[class as usize] = position;
    }
    let (outputs, units) = match scenario {
        Scenario::Task => (data.classes, Units::Block(share)),
        Scenario::Domain => (share, Units::All),
        Scenario::Class => (data.classes, Units::All),
    };
    let parts = |samples: &Samples| -> Result<Vec<Samples>> {
        let mut rows = vec![Vec::new(); tasks];
        for (row, class) in (0..).zip(labels(data, samples)?) {
            rows[place[class as usize] / share].push(row);
        }
        let unit = |class: u32| (place[class as usize] % outputs) as u32;
        rows.iter().map(|rows| samples.gather(rows)?.relabel(unit)).collect()
    };
    let tasks = parts(&data.train)?.into_iter().zip(parts(&data.test)?).zip(class_order.chunks(share));
    let tasks = tasks.enumerate().map(|(index, ((train, test), classes))| Task {
        index,
        classes: classes.to_vec(),
        units,
        transform: Arc::new(Transform::None),
        train: train.into(),
        test: test.into(),
    });
    let (name, tasks) = (format!("split-{}", data.name), tasks.collect());
    Ok(Stream { name, scenario, tasks, outputs, class_order, image: data.image })
}
