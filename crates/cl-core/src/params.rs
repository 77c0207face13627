//! An ordered list of named parameters: candle's `VarMap` is a hash map, whose order changes from run
//! to run, and everything that walks parameters beside gradients needs one order.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::{Error, Result};

/// A named variable of a network.
#[derive(Debug, Clone)]
pub struct Param {
    /// Unique within its list, such as `layers.0.weight`.
    pub name: String,
    /// The variable, shared with the network.
    pub var: Var,
    /// The group it belongs to: an optimizer can treat groups differently. The default is `""`.
    pub group: String,
    /// A frozen parameter gets no gradient, takes no step and bears no penalty.
    pub frozen: bool,
}

/// Named parameters in a fixed order. Cloning shares the variables.
///
/// ```
/// use candle_core::{Device, DType, Var};
/// use cl_core::Params;
///
/// let mut params = Params::new();
/// params.push("weight", Var::zeros((2, 3), DType::F32, &Device::Cpu)?)?;
/// params.push("bias", Var::zeros(2, DType::F32, &Device::Cpu)?)?;
/// assert_eq!(params.numel(), 8);
/// assert_eq!(params.flat()?.dims(), [8]);
/// params.freeze("bias", true)?;
/// assert_eq!(params.trainable().count(), 1);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Params {
    list: Vec<Param>,
}

impl Params {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes named variables in the order of their names: the way in from candle's `VarMap`.
    ///
    /// ```
    /// # use candle_core::{Device, DType};
    /// let map = candle_nn::VarMap::new();
    /// let builder = candle_nn::VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    /// candle_nn::linear(3, 2, builder.pp("head"))?;
    /// let vars = map.data().lock().unwrap().clone();
    /// let params = cl_core::Params::sorted(vars)?;
    /// assert_eq!(params.names().collect::<Vec<_>>(), ["head.bias", "head.weight"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sorted(vars: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        let mut vars: Vec<_> = vars.into_iter().collect();
        vars.sort_by(|a, b| a.0.cmp(&b.0));
        let mut params = Self::new();
        for (name, var) in vars {
            params.push(name, var)?;
        }
        Ok(params)
    }

    /// Adds a parameter at the end.
    ///
    /// # Errors
    /// A name, or a variable, that is already in the list.
    pub fn push(&mut self, name: impl Into<String>, var: Var) -> Result<()> {
        let name = name.into();
        if self.list.iter().any(|p| p.name == name) {
            return Err(Error::invalid("parameter", format!("there is already one named {name}")));
        }
        if let Some(p) = self.list.iter().find(|p| p.var.id() == var.id()) {
            return Err(Error::invalid("parameter", format!("{name} is the same variable as {}", p.name)));
        }
        self.list.push(Param { name, var, group: String::new(), frozen: false });
        Ok(())
    }

    /// Adds all of `other`, their names behind `prefix` and a dot.
    pub fn extend(&mut self, prefix: &str, other: Params) -> Result<()> {
        for param in other.list {
            self.push(format!("{prefix}.{}", param.name), param.var)?;
            let last = self.list.last_mut().expect("one was just pushed");
            (last.group, last.frozen) = (param.group, param.frozen);
        }
        Ok(())
    }

    /// All parameters, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Param> {
        self.list.iter()
    }

    /// Those that are not frozen, in order.
    pub fn trainable(&self) -> impl Iterator<Item = &Param> {
        self.list.iter().filter(|p| !p.frozen)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|p| p.name.as_str())
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.list.iter().find(|p| p.name == name)
    }

    /// How many parameters (tensors) there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many numbers all parameters hold.
    pub fn numel(&self) -> usize {
        self.list.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Freezes, or thaws, the parameters whose name is `prefix` or begins with `prefix.`.
    ///
    /// # Errors
    /// A prefix that matches nothing: a misspelt name must not train on unnoticed.
    pub fn freeze(&mut self, prefix: &str, frozen: bool) -> Result<()> {
        self.each_under(prefix, |p| p.frozen = frozen)
    }

    /// Puts the parameters whose name is `prefix` or begins with `prefix.` into `group`.
    ///
    /// # Errors
    /// A prefix that matches nothing.
    pub fn set_group(&mut self, prefix: &str, group: &str) -> Result<()> {
        self.each_under(prefix, |p| group.clone_into(&mut p.group))
    }

    fn each_under(&mut self, prefix: &str, mut f: impl FnMut(&mut Param)) -> Result<()> {
        let mut found = false;
        for param in &mut self.list {
            let rest = param.name.strip_prefix(prefix);
            if prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                f(param);
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        let names = self.names().collect::<Vec<_>>().join(", ");
        Err(Error::invalid("parameter prefix", format!("nothing is named {prefix:?}; there are {names}")))
    }

    /// The gradients of the trainable parameters, in order.
    ///
    /// # Errors
    /// [`Error::NoGradient`] names every trainable parameter that the loss does not reach. candle says
    /// nothing there, and some of its layers (LayerNorm, RmsNorm, softmax_last_dim) stop gradients.
    pub fn gradients(&self, grads: &GradStore) -> Result<Vec<Tensor>> {
        let found: Vec<_> = self.trainable().map(|p| grads.get(&p.var).cloned()).collect();
        if found.iter().any(Option::is_none) {
            let missing = self.trainable().zip(&found).filter(|(_, g)| g.is_none());
            return Err(Error::NoGradient { parameters: missing.map(|(p, _)| p.name.clone()).collect() });
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// A copy of the values of the trainable parameters, in order: nothing that happens to the
    /// parameters later changes it.
    pub fn values(&self) -> Result<Vec<Tensor>> {
        Ok(self.trainable().map(|p| p.var.as_detached_tensor().copy()).collect::<Result<_, _>>()?)
    }

    /// Writes what [`values`](Self::values) gave back into the trainable parameters.
    ///
    /// # Errors
    /// Another number of tensors, or another shape: nothing is written then.
    pub fn set_values(&self, values: &[Tensor]) -> Result<()> {
        if values.len() != self.trainable().count() {
            return Err(Error::mismatch(
                "set_values",
                format!("{} tensors", self.trainable().count()),
                values.len().to_string(),
            ));
        }
        for (param, value) in self.trainable().zip(values) {
            if param.var.dims() != value.dims() || param.var.dtype() != value.dtype() {
                return Err(Error::mismatch(
                    "set_values",
                    format!("{} as {:?} {:?}", param.name, param.var.dtype(), param.var.dims()),
                    format!("{:?} {:?}", value.dtype(), value.dims()),
                ));
            }
        }
        for (param, value) in self.trainable().zip(values) {
            param.var.set(value)?;
        }
        Ok(())
    }

    /// All trainable parameters in one vector (n), in order.
    pub fn flat(&self) -> Result<Tensor> {
        flatten(self.trainable().map(|p| p.var.as_detached_tensor()))
    }

    /// Writes a vector as [`flat`](Self::flat) gives it back into the trainable parameters.
    ///
    /// # Errors
    /// Another length: nothing is written then.
    pub fn set_flat(&self, flat: &Tensor) -> Result<()> {
        let n: usize = self.trainable().map(|p| p.var.elem_count()).sum();
        if flat.dims() != [n] {
            return Err(Error::mismatch("set_flat", format!("[{n}]"), format!("{:?}", flat.dims())));
        }
        let mut start = 0;
        let mut values = Vec::new();
        for param in self.trainable() {
            let n = param.var.elem_count();
            values.push(flat.narrow(0, start, n)?.reshape(param.var.shape())?);
            start += n;
        }
        self.set_values(&values)
    }

    /// The gradients of all trainable parameters in one vector, in the order of [`flat`](Self::flat).
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients).
    pub fn flat_gradient(&self, grads: &GradStore) -> Result<Tensor> {
        flatten(self.gradients(grads)?.into_iter())
    }

    /// Writes all parameters, frozen ones too, as a safetensors file.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors: HashMap<_, _> =
            self.list.iter().map(|p| (p.name.clone(), p.var.as_tensor().clone())).collect();
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }

    /// Reads all parameters from a safetensors file.
    ///
    /// # Errors
    /// A missing or superfluous name, another shape or dtype: nothing is written then.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu)
            .map_err(|e| Error::format(path, format!("no safetensors file: {e}")))?;
        let ours: HashSet<_> = self.names().collect();
        if let Some(name) = tensors.keys().find(|name| !ours.contains(name.as_str())) {
            return Err(Error::format(path, format!("holds {name}, which this network does not have")));
        }
        for param in &self.list {
            let Some(tensor) = tensors.get(&param.name) else {
                return Err(Error::format(path, format!("lacks {}", param.name)));
            };
            if tensor.dims() != param.var.dims() || tensor.dtype() != param.var.dtype() {
                let text = |t: &Tensor| format!("{:?} {:?}", t.dtype(), t.dims());
                return Err(Error::format(
                    path,
                    format!("{} is {}, the network has {}", param.name, text(tensor), text(&param.var)),
                ));
            }
        }
        for param in &self.list {
            param.var.set(&tensors[&param.name].to_device(param.var.device())?)?;
        }
        Ok(())
    }
}

fn flatten(tensors: impl Iterator<Item = Tensor>) -> Result<Tensor> {
    let parts = tensors.map(|t| t.flatten_all()).collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() {
        return Err(Error::invalid("parameters", "there are no trainable parameters"));
    }
    Ok(Tensor::cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device, Module};

    fn two() -> Params {
        let mut params = Params::new();
        params.push("a.weight", Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap()).unwrap();
        params.push("a.bias", Var::new(&[5f32, 6.], &Device::Cpu).unwrap()).unwrap();
        params
    }

    #[test]
    fn flat_and_back() {
        let params = two();
        let flat = params.flat().unwrap();
        assert_eq!(flat.to_vec1::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);
        params.set_flat(&(flat * 2.0).unwrap()).unwrap();
        assert_eq!(params.get("a.bias").unwrap().var.to_vec1::<f32>().unwrap(), [10., 12.]);
        let short = Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap();
        assert!(params.set_flat(&short).unwrap_err().to_string().contains("expected [6], got [5]"));
    }

    #[test]
    fn values_do_not_follow_the_parameters() {
        let params = two();
        let before = params.values().unwrap();
        params.set_flat(&Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(before[1].to_vec1::<f32>().unwrap(), [5., 6.]);
        params.set_values(&before).unwrap();
        assert_eq!(params.flat().unwrap().to_vec1::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);
    }

    #[test]
    fn frozen_parameters_are_left_out() {
        let mut params = two();
        params.freeze("a.bias", true).unwrap();
        assert_eq!(params.flat().unwrap().dims(), [4]);
        assert!(params.freeze("a.bia", true).unwrap_err().to_string().contains("a.weight, a.bias"));
        params.freeze("a", true).unwrap();
        assert!(params.flat().is_err());
        params.freeze("", false).unwrap();
        assert_eq!(params.flat().unwrap().dims(), [6]);
    }

    #[test]
    fn one_name_one_variable() {
        let mut params = two();
        let var = params.get("a.bias").unwrap().var.clone();
        assert!(params.push("a.bias", Var::zeros(1, DType::F32, &Device::Cpu).unwrap()).is_err());
        assert!(params.push("b", var).unwrap_err().to_string().contains("same variable as a.bias"));
    }

    /// candle's fused LayerNorm has no backward and says nothing (huggingface/candle#2168).
    #[test]
    fn a_gradient_that_stops_is_an_error() {
        let device = &Device::Cpu;
        let weight = Var::ones(3, DType::F32, device).unwrap();
        let scale = Var::ones(3, DType::F32, device).unwrap();
        let mut params = Params::new();
        params.push("weight", weight.clone()).unwrap();
        params.push("scale", scale.clone()).unwrap();
        let x = Tensor::new(&[[1f32, 2., 4.]], device).unwrap().broadcast_mul(&weight).unwrap();
        let bias = Tensor::zeros(3, DType::F32, device).unwrap();
        let norm = candle_nn::LayerNorm::new(scale.as_tensor().clone(), bias, 1e-5);
        let loss = norm.forward(&x).unwrap().sqr().unwrap().sum_all().unwrap();
        let error = params.gradients(&loss.backward().unwrap()).unwrap_err().to_string();
        assert!(error.contains("weight, scale"), "candle mended its LayerNorm? {error}");
        params.freeze("weight", true).unwrap();
        params.freeze("scale", true).unwrap();
        assert_eq!(params.gradients(&loss.backward().unwrap()).unwrap().len(), 0);
    }

    #[test]
    fn safetensors_there_and_back() {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join("w.safetensors");
        let params = two();
        params.save(&file).unwrap();
        params.set_flat(&Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap()).unwrap();
        params.load(&file).unwrap();
        assert_eq!(params.flat().unwrap().to_vec1::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);

        let mut other = two();
        other.push("c", Var::zeros(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert!(other.load(&file).unwrap_err().to_string().contains("lacks c"));
        std::fs::write(&file, b"nonsense").unwrap();
        assert!(params.load(&file).unwrap_err().to_string().contains("no safetensors file"));
    }
}
