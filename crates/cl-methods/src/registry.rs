//! Methods by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use cl_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Method, agem, cls, cls_er, der, er, er_reservoir, er_ring, ewc, ewc_plus, gdumb, gem, gss, gss_iqp,
    icarl, independent, joint, l2, lwf, mas, mer, mir, multimodal, none, online_ewc, packnet, progressive,
    rehearsal, rwalk, s_gem, si, src, xdg,
};

type Build = dyn Fn(&Value, u64) -> Result<Box<dyn Method>> + Send + Sync;

/// How methods are made from a name, their coefficients as JSON, and a seed. A method of your own goes in
/// beside the standard ones:
///
/// ```
/// # use cl_core::Result;
/// # use cl_methods::{Batch, Learner, Method, Registry};
/// struct Slow;
/// impl Method for Slow {
///     fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
///         learner.step(&(learner.loss(batch)? * 0.5)?)
///     }
/// }
/// let mut registry = Registry::standard();
/// registry.register("Slow", |_config, _seed| Ok(Box::new(Slow)))?;
/// assert!(registry.build("Slow", &serde_json::json!({}), 0).is_ok());
/// assert!(registry.build("Fast", &serde_json::json!({}), 0).is_err());
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    methods: BTreeMap<String, Arc<Build>>,
}

impl Registry {
    /// The methods of this crate.
    pub fn standard() -> Self {
        let mut registry = Self::default();
        let mut add = |name: &str, build: Arc<Build>| registry.methods.insert(name.to_owned(), build);
        add("None", from(|_: none::Config, _| Ok(none::NoMethod)));
        add("Joint", from(|_: joint::Config, _| Ok(joint::Joint)));
        add("L2", from(|config, _| l2::L2::new(config)));
        add("EWC", from(ewc::Ewc::new));
        add("Online EWC", from(online_ewc::new));
        add("EWC++", from(|config, _| ewc_plus::EwcPlus::new(config)));
        add("SI", from(|config, _| si::Si::new(config)));
        add("MAS", from(|config, _| mas::Mas::new(config)));
        add("RWalk", from(|config, _| rwalk::RWalk::new(config)));
        add("LwF", from(|config, _| lwf::Lwf::new(config)));
        add("ER", from(er::Er::new));
        add("Rehearsal", from(rehearsal::Rehearsal::new));
        add("ER-Reservoir", from(er_reservoir::ErReservoir::new));
        add("ER-Ring", from(er_ring::ErRing::new));
        add("DER", from(der::Der::new));
        add("DER++", from(der::Der::plus));
        add("CLS", from(cls::Cls::new));
        add("CLS-ER", from(cls_er::ClsEr::new));
        add("GEM", from(gem::Gem::new));
        add("GSS-greedy", from(gss::GssGreedy::new));
        add("GSS-IQP", from(gss_iqp::GssIqp::new));
        add("MIR", from(mir::Mir::new));
        add("GDumb", from(gdumb::GDumb::new));
        add("iCaRL", from(|config, _| icarl::Icarl::new(config)));
        add("MER", from(mer::Mer::new));
        add("A-GEM", from(agem::AGem::new));
        add("S-GEM", from(s_gem::SGem::new));
        add("Independent", from(independent::Independent::new));
        add("Multimodal", from(multimodal::Multimodal::new));
        add("PackNet", from(packnet::PackNet::new));
        add("Progressive", from(progressive::Progressive::new));
        add("SRC", from(src::Src::new));
        add("XdG", from(xdg::XdG::new));
        registry
    }

    /// Adds a method; it is made from its coefficients and a seed.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn register(
        &mut self,
        name: &str,
        build: impl Fn(&Value, u64) -> Result<Box<dyn Method>> + Send + Sync + 'static,
    ) -> Result<()> {
        if self.methods.contains_key(name) {
            return Err(Error::invalid("method", format!("there is already one named {name}")));
        }
        self.methods.insert(name.to_owned(), Arc::new(build));
        Ok(())
    }

    /// Makes a method. Coefficients that `config` leaves out have their defaults; unknown ones are an error.
    ///
    /// # Errors
    /// An unknown name; coefficients that do not fit.
    pub fn build(&self, name: &str, config: &Value, seed: u64) -> Result<Box<dyn Method>> {
        let build = self.methods.get(name).ok_or_else(|| {
            let names = self.names().collect::<Vec<_>>().join(", ");
            Error::invalid("method", format!("there is none named {name:?}; there are {names}"))
        })?;
        build(config, seed)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }
}

/// A builder from JSON from one from a typed configuration.
fn from<C, M>(build: impl Fn(C, u64) -> Result<M> + Send + Sync + 'static) -> Arc<Build>
where
    C: DeserializeOwned + 'static,
    M: Method + 'static,
{
    Arc::new(move |config, seed| {
        let config = serde_json::from_value(config.clone())
            .map_err(|e| Error::invalid("coefficients of the method", format!("{e} in {config}")))?;
        Ok(Box::new(build(config, seed)?) as Box<dyn Method>)
    })
}
