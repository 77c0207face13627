//! Races for shared memory: two threads touch the same bytes, one of them writes, and no barrier lies between.

use crate::fault::{Fault, Kind, Result};

/// More than one thread, or more than one warp.
const MANY: u32 = u32::MAX;

/// What was done with a granule since the last barrier.
#[derive(Debug, Clone, Copy)]
struct Touched {
    /// Number of the interval between barriers in which it was written, and by which thread in which interval of its warp.
    write_interval: u32,
    writer: u32,
    write_sync: u32,
    atomic: bool,
    /// A copy is under way that goes there.
    copying: bool,
    read_interval: u32,
    read_warp: u32,
    reader: u32,
    read_sync: u32,
}

const UNTOUCHED: Touched = Touched {
    write_interval: 0,
    writer: 0,
    write_sync: 0,
    atomic: false,
    copying: false,
    read_interval: 0,
    read_warp: 0,
    reader: 0,
    read_sync: 0,
};

/// Who touches, and when.
#[derive(Debug, Clone, Copy)]
pub struct Toucher {
    /// Number of the thread in its block.
    pub thread: u32,
    /// How often its warp has met at a barrier, shuffle or vote of its own.
    pub sync: u32,
}

/// What was done with each granule of a block's shared memory.
#[derive(Debug)]
pub struct Races {
    granule: usize,
    touched: Vec<Touched>,
    /// Goes up at every barrier, and from block to block.
    interval: u32,
}

impl Races {
    /// For so many bytes, of which never less than `granule` are touched at once.
    pub fn new(bytes: usize, granule: usize) -> Self {
        Self { granule, touched: vec![UNTOUCHED; bytes.div_ceil(granule)], interval: 1 }
    }

    /// All threads of the block have met.
    pub fn barrier(&mut self) {
        self.interval += 1;
    }

    fn granules(&self, offset: usize, size: usize) -> std::ops::Range<usize> {
        offset / self.granule..(offset + size).div_ceil(self.granule)
    }

    /// A read.
    ///
    /// # Errors
    /// Another thread has written and no barrier lies between.
    #[inline]
    pub fn read(&mut self, offset: usize, size: usize, who: Toucher) -> Result<()> {
        let (warp, interval) = (who.thread / 32, self.interval);
        for granule in self.granules(offset, size) {
            let touched = &mut self.touched[granule];
            if touched.copying && touched.write_interval != 0 {
                return Err(copying(granule * self.granule, touched.writer));
            }
            if touched.write_interval == interval && touched.writer != who.thread {
                let met = touched.writer / 32 == warp && touched.write_sync < who.sync;
                if !met {
                    return Err(race("reads", "wrote", granule * self.granule, touched.writer));
                }
            }
            if touched.read_interval != interval {
                *touched = Touched {
                    read_interval: interval,
                    read_warp: warp,
                    reader: who.thread,
                    read_sync: who.sync,
                    ..*touched
                };
            } else if touched.read_warp != warp {
                touched.read_warp = MANY;
            } else if touched.read_sync < who.sync {
                touched.reader = who.thread;
                touched.read_sync = who.sync;
            } else if touched.reader != who.thread {
                touched.reader = MANY;
            }
        }
        Ok(())
    }

    /// A write, plain or atomic; `same` where it writes what is there already, which two threads may.
    ///
    /// # Errors
    /// Another thread has read or written and no barrier lies between. Atomic writes do not disturb each other.
    #[inline]
    pub fn write(
        &mut self,
        offset: usize,
        size: usize,
        who: Toucher,
        atomic: bool,
        same: bool,
    ) -> Result<()> {
        let (warp, interval) = (who.thread / 32, self.interval);
        for granule in self.granules(offset, size) {
            let touched = &mut self.touched[granule];
            if touched.copying && touched.write_interval != 0 {
                return Err(copying(granule * self.granule, touched.writer));
            }
            if touched.write_interval == interval
                && touched.writer != who.thread
                && !(atomic && touched.atomic)
                && !same
            {
                let met = touched.writer / 32 == warp && touched.write_sync < who.sync;
                if !met {
                    return Err(race("writes", "wrote", granule * self.granule, touched.writer));
                }
            }
            if touched.read_interval == interval {
                let met = touched.read_warp == warp
                    && (touched.read_sync < who.sync || touched.reader == who.thread);
                if !met {
                    let other = if touched.read_warp == MANY { MANY } else { touched.reader };
                    return Err(race("writes", "read", granule * self.granule, other));
                }
            }
            touched.write_interval = interval;
            touched.writer = who.thread;
            touched.write_sync = who.sync;
            touched.atomic = atomic;
            touched.copying = false;
        }
        Ok(())
    }

    /// An asynchronous copy begins: until it has landed nobody may touch where it goes.
    ///
    /// # Errors
    /// As of a write.
    pub fn copy_begins(&mut self, offset: usize, size: usize, who: Toucher) -> Result<()> {
        self.write(offset, size, who, false, false)?;
        for granule in self.granules(offset, size) {
            self.touched[granule].copying = true;
        }
        Ok(())
    }

    /// It has landed: as if its thread had written there now.
    pub fn copy_lands(&mut self, offset: usize, size: usize, who: Toucher) {
        for granule in self.granules(offset, size) {
            let touched = &mut self.touched[granule];
            touched.copying = false;
            touched.write_interval = self.interval;
            touched.writer = who.thread;
            touched.write_sync = who.sync;
        }
    }

    /// The next block begins, with memory of its own.
    pub fn next_block(&mut self, copies: bool) {
        self.interval += 1;
        if copies || self.interval > u32::MAX / 2 {
            self.touched.fill(UNTOUCHED);
            self.interval = 1;
        }
    }
}

#[cold]
fn race(does: &str, did: &str, offset: usize, other: u32) -> Fault {
    let other =
        if other == MANY { "other threads".to_owned() } else { format!("thread {other} of the block") };
    let text = format!(
        "a race: {does} byte {offset} of shared memory, which {other} {did}, and no barrier lies between"
    );
    Fault::new(Kind::IllegalAddress, text)
}

#[cold]
fn copying(offset: usize, writer: u32) -> Fault {
    let text = format!(
        "byte {offset} of shared memory is touched while cp.async of thread {writer} goes there: cp.async.wait_group is missing"
    );
    Fault::new(Kind::IllegalAddress, text)
}
