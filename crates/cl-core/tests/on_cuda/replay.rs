//! What a replay memory is made of: the sum tree and rows. All of it is the same to the last bit.

use candle_core::{DType, Device, Tensor};
use cl_core::ring::{gather_rows, place_rows, write_rows};
use cl_core::snapshot::{self, Kind, tensor};
use cl_core::sum_tree::{Fill, Overwritten, Philox, PriorityTree, Strata, Weights};
use rand::Rng as _;

use super::{elements, gpu};

/// The bits of a tensor of floats or of u32, wherever it is.
fn bits(t: &Tensor) -> Vec<u64> {
    let t = t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap();
    match t.dtype() {
        DType::F32 => t.to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits().into()).collect(),
        DType::U32 => t.to_vec1::<u32>().unwrap().into_iter().map(u64::from).collect(),
        other => panic!("{other:?}"),
    }
}

fn same(what: &str, gpu: &Tensor, cpu: &Tensor) {
    assert_eq!((gpu.dims(), gpu.dtype()), (cpu.dims(), cpu.dtype()), "{what}");
    let (found, expected) = (bits(gpu), bits(cpu));
    if let Some(i) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!("{what}, element {i}: {:#x} on the GPU, {:#x} on the CPU", found[i], expected[i]);
    }
}

/// A vector, and its copy on the GPU; both begin behind the first element of what they are views of.
fn vector<T: candle_core::WithDType>(values: &[T], gpu: &Device) -> [Tensor; 2] {
    let all: Vec<T> = std::iter::once(T::zero()).chain(values.iter().copied()).collect();
    let cpu = Tensor::from_slice(&all, all.len(), &Device::Cpu).unwrap();
    let there = cpu.to_device(gpu).unwrap();
    [cpu, there].map(|t| t.narrow(0, 1, values.len()).unwrap())
}

struct Trees {
    cpu: PriorityTree,
    gpu: PriorityTree,
}

impl Trees {
    fn new(capacity: usize, gpu: &Device) -> Self {
        Self {
            cpu: PriorityTree::new(capacity, &Device::Cpu).unwrap(),
            gpu: PriorityTree::new(capacity, gpu).unwrap(),
        }
    }

    fn update(&mut self, indices: &[u32], priorities: &[f32], alpha: f64, overwritten: Overwritten) {
        let device = self.gpu.device().clone();
        let ([i, there], [p, p_there]) = (vector(indices, &device), vector(priorities, &device));
        self.cpu.update(&i, &p, alpha, overwritten).unwrap();
        self.gpu.update(&there, &p_there, alpha, overwritten).unwrap();
    }

    fn fill(&mut self, start: usize, n: usize, with: Fill) {
        self.cpu.fill(start, n, with).unwrap();
        self.gpu.fill(start, n, with).unwrap();
    }

    /// Leaves, sums, counts, and what is drawn: both ways, with every rule of weights.
    fn assert_same(&mut self, n: usize, key: u64) {
        let what = format!("{} leaves", self.cpu.capacity());
        same(&what, &self.gpu.leaves().unwrap(), &self.cpu.leaves().unwrap());
        assert_eq!(self.gpu.total().unwrap().to_bits(), self.cpu.total().unwrap().to_bits(), "{what}");
        assert_eq!(self.gpu.largest_ever().unwrap(), self.cpu.largest_ever().unwrap(), "{what}");
        let (mut philox, mut there) = (Philox::new(key), Philox::new(key));
        for strata in [Strata::Stratified, Strata::Independent] {
            let (c, g) = (
                self.cpu.draw(n, strata, &mut philox).unwrap(),
                self.gpu.draw(n, strata, &mut there).unwrap(),
            );
            let what = format!("{what}, {strata:?}");
            same(&what, &g.indices, &c.indices);
            same(&what, &g.leaves, &c.leaves);
            same(&what, &g.probabilities, &c.probabilities);
            for rule in [Weights::BatchMax, Weights::BufferMax, Weights::None] {
                let of = |tree: &PriorityTree, drawn| tree.weights(drawn, 100, 0.4, rule).unwrap();
                same(&format!("{what}, {rule:?}"), &of(&self.gpu, &g), &of(&self.cpu, &c));
            }
        }
        assert_eq!(self.gpu.counts().unwrap(), self.cpu.counts().unwrap(), "{what}");
    }
}

/// Of all numbers of levels, with duplicates, zeros, priorities over 24 orders of magnitude and such as cannot be, late ones,
/// indices that there are not, ranges across nodes.
#[test]
fn a_sum_tree_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for capacity in [1, 5, 32, 33, 1000, 1024, 1025, 40_000, 70_000] {
        let mut rng = cl_core::rng(capacity as u64, "test");
        let mut trees = Trees::new(capacity, &gpu);
        trees.assert_same(3, 7); // of zeros
        trees.fill(0, capacity, Fill::LargestNow);
        trees.assert_same(100, 8);
        for round in 0..6 {
            let n = [1, 3, 40, 257, 2000, 5000][round];
            let top = capacity as u32 + u32::from(round == 2) * 3;
            let indices: Vec<u32> = (0..n).map(|_| rng.random_range(0..top.min(3 * n as u32 + 1))).collect();
            let priority = |_| match rng.random_range(0..20) {
                0..3 => 0.0,
                3 if round > 2 => [f32::NAN, f32::INFINITY, -1.0, -0.0, 1e-42][rng.random_range(0..5)],
                _ => 10f32.powf(rng.random_range(-12.0..12.0)),
            };
            let priorities: Vec<f32> = (0..n).map(priority).collect();
            let overwritten = if round > 3 {
                Overwritten { first: capacity - 1, count: 2 }
            } else {
                Overwritten::default()
            };
            trees.update(&indices, &priorities, [1.0, 0.6, 0.0][round % 3], overwritten);
            trees.assert_same(500, round as u64);
            let start = rng.random_range(0..capacity);
            let len = rng.random_range(0..(capacity - start).min(3000) + 1);
            trees.fill(start, len, [Fill::LargestEver, Fill::LargestNow, Fill::Leaf(0.0)][round % 3]);
            trees.assert_same(64, 100 + round as u64);
        }
        trees.fill(0, capacity, Fill::Leaf(0.0));
        assert_eq!(trees.gpu.total().unwrap(), 0.0);
        trees.assert_same(5, 9);
    }
}

/// Saved on one device, restored on the other: the same draws.
#[test]
fn a_sum_tree_moves_between_devices() {
    const KIND: Kind = Kind::new("test/priority-tree", 1);
    let Some(gpu) = gpu() else { return };
    let mut trees = Trees::new(5000, &gpu);
    trees.fill(0, 4000, Fill::Leaf(0.5));
    trees.update(&[7, 4999, 7, 90_000], &[3.0, 2.0, 0.25, 1.0], 0.6, Overwritten::default());
    let moved = Trees {
        cpu: snapshot::from_bytes(&snapshot::to_bytes(KIND, &trees.gpu).unwrap(), KIND).unwrap(),
        gpu: tensor::on(&gpu, || {
            snapshot::from_bytes(&snapshot::to_bytes(KIND, &trees.cpu).unwrap(), KIND).unwrap()
        }),
    };
    assert!(moved.gpu.device().is_cuda());
    let mut moved = moved;
    moved.assert_same(300, 1);
    trees.cpu = moved.cpu;
    trees.assert_same(300, 2);
}

/// Of every dtype and of rows of all alignments, more tensors than one launch takes; round the end, and zeros for rows that there
/// are not.
#[test]
fn rows_come_as_they_went() {
    let Some(gpu) = gpu() else { return };
    let (capacity, n) = (77usize, 50usize);
    let dtypes = [
        DType::U8,
        DType::U32,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];
    let shapes: [&[usize]; 6] = [&[], &[1, 3], &[16], &[84], &[0], &[5, 7, 3]];
    let mut kinds: Vec<(DType, &[usize])> =
        dtypes.iter().flat_map(|&dtype| shapes.iter().map(move |&shape| (dtype, shape))).collect();
    kinds.extend_from_within(..);
    let tensor = |(i, &(dtype, shape)): (usize, &(DType, &[usize])), rows: usize, seed: usize| {
        // Every second one begins behind the first row of what it is a view of.
        let before = i % 2;
        let dims = [&[rows + before], shape].concat();
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|k| ((k * 31 + i * 7 + seed) % 101) as f32).collect();
        let cpu = Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let there = cpu.to_device(&gpu).unwrap();
        [cpu, there].map(|t| t.narrow(0, before, rows).unwrap())
    };
    let all = |rows: usize, seed: usize| -> [Vec<Tensor>; 2] {
        let pairs = kinds.iter().enumerate().map(|kind| tensor(kind, rows, seed)).map(|[a, b]| (a, b));
        let (cpu, there) = pairs.unzip();
        [cpu, there]
    };
    let (stores, batch) = (all(capacity, 0), all(n, 50));
    let refs = |tensors: &'_ [Tensor]| -> Vec<Tensor> { tensors.to_vec() };
    let slots: Vec<u32> = (0..200u32).map(|i| if i % 17 == 3 { u32::MAX - i } else { i * 29 % 80 }).collect();
    let indices = vector(&slots, &gpu);
    for start in [0, 30, 60] {
        let gathered = [0, 1].map(|on| {
            let (stores, batch) = (refs(&stores[on]), refs(&batch[on]));
            let (stores, batch): (Vec<&Tensor>, Vec<&Tensor>) =
                (stores.iter().collect(), batch.iter().collect());
            write_rows(&stores, start, &batch).unwrap();
            place_rows(&stores, &[(5, 3), (start as u32, 0), (5, 1), (76, 49), (9, 49)], &batch).unwrap();
            gather_rows(&stores, &indices[on]).unwrap()
        });
        for (i, kind) in kinds.iter().enumerate() {
            assert_eq!(elements(&stores[1][i]), elements(&stores[0][i]), "{kind:?} from {start} on");
            assert_eq!(gathered[1][i].dims(), gathered[0][i].dims());
            assert_eq!(elements(&gathered[1][i]), elements(&gathered[0][i]), "gathered {kind:?}");
        }
    }
}
