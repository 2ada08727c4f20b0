//! What a function becomes: the same function, its body handed to a policy.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Error, FnArg, Ident, ItemFn, Pat, PatIdent, PatType, Receiver, ReceiverKind, Result, ReturnType, Type};

use crate::attribute::Mistakes;
use crate::literal::duration_tokens;
use crate::settings::{Elsewhere, Settings};

/// An argument: its name in the signature, the pattern the body knows it by, and its type.
struct Given {
    name: Ident,
    pattern: Pat,
    ty: Type,
}

impl Given {
    /// A clone of it. Where it cannot be cloned the compiler points at its type.
    fn clone_tokens(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        quote_spanned!(Span::mixed_site().located_at(ty.span())=> ::core::clone::Clone::clone(&#name))
    }
}

pub(crate) fn expand(settings: &Settings, function: &ItemFn) -> Result<TokenStream> {
    let result = check(settings, function)?;
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let taken = &settings.taken;
    let repeats = may_repeat(settings);
    let (mut sig, mut given) = (sig.clone(), Vec::new());
    if repeats {
        for (at, input) in sig.inputs.iter_mut().enumerate() {
            if let FnArg::Typed(argument) = input {
                given.push(name_it(at, argument));
            }
        }
    }
    let local = |name: &str| Ident::new(name, Span::mixed_site());
    let (policy, body, call) = (local("policy"), local("body"), local("call"));
    let made = policy_tokens(settings, &sig.ident, &policy);
    let clones: TokenStream = given
        .iter()
        .map(|given| {
            let (pattern, clone) = (&given.pattern, given.clone_tokens());
            quote!(let #pattern = #clone;)
        })
        .collect();
    let waits = sig.asyncness.is_some();
    let attempt = match (waits, repeats) {
        (true, true) => {
            let typed = typed(&result, block);
            quote!(let #call = ::stormproof::Policy::call(#policy, |_| { #clones #typed });)
        }
        (true, false) => {
            let typed = typed(&result, block);
            quote! {
                let mut #body = ::core::option::Option::Some(#typed);
                let #call = ::stormproof::Policy::call(#policy, |_| ::stormproof::attribute::once(#body.take()));
            }
        }
        (false, true) => {
            // Its statements, not the block: braces around braces are what a compiler warns of.
            let body = &block.stmts;
            quote!(let #call = ::stormproof::Policy::call_sync(#policy, |_| -> #result { #clones #(#body)* });)
        }
        (false, false) => quote! {
            let mut #body = ::core::option::Option::Some(move || -> #result #block);
            let #call = ::stormproof::Policy::call_sync(#policy, |_| ::stormproof::attribute::once_now(#body.take()));
        },
    };
    let end = if waits { quote!(.await) } else { quote!(.run()) };
    let deadline = settings.deadline.filter(|_| settings.elsewhere.is_some()).map(duration_tokens);
    let deadline = deadline.map(|limit| quote!(.deadline(#limit)));
    let classify = settings.classify.as_ref().map(|classify| quote!(.classify_with(#classify)));
    let arguments: Vec<_> = given.iter().map(Given::clone_tokens).collect();
    let backup = settings.backup.as_ref().map(|backup| backup.tokens(&arguments, &result, waits));
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            #(#[allow(unused_imports)] use #taken as _;)*
            #made
            #attempt
            #[allow(clippy::redundant_closure, clippy::redundant_closure_call)]
            let #call = #call #deadline #classify #backup;
            ::stormproof::attribute::own(#call #end)
        }
    })
}

/// The body as a future whose type is known: neither `?` nor `return` know it otherwise.
fn typed(result: &Type, block: &syn::Block) -> TokenStream {
    let never = Ident::new("never", Span::mixed_site());
    // Not the block as a whole: within another one its braces are needless, and the compiler would say so of the user's.
    let statements = &block.stmts;
    quote! {
        async move {
            #[allow(unreachable_code, unused_variables, clippy::all, clippy::pedantic)]
            if false {
                let #never: #result = loop {};
                return #never;
            }
            #(#statements)*
        }
    }
}

/// Whether the body is given clones of the arguments.
fn may_repeat(settings: &Settings) -> bool {
    settings.repeats() || settings.backup.as_ref().is_some_and(crate::backup::Backup::needs_arguments)
}

/// What the function returns, if it is one that a policy can call.
fn check(settings: &Settings, function: &ItemFn) -> Result<Type> {
    let sig = &function.sig;
    let mut mistakes = Mistakes::default();
    if sig.asyncness.is_none() && (settings.deadline.is_some() || settings.attempt_timeout.is_some()) {
        let why = "nobody can end a synchronous function from outside: a time limit needs an `async fn`";
        mistakes.add(Error::new_spanned(sig.fn_token, why));
    }
    let result = match &sig.output {
        ReturnType::Type(_, result) if sig.asyncness.is_none() && is_pinned(result) => {
            let why = "it returns a future that something else made of an `async fn`, such as `#[async_trait]`: let the \
                       method call a function that has the attribute";
            mistakes.add(Error::new_spanned(result, why));
            None
        }
        ReturnType::Type(_, result) if !has_impl(result) => Some((**result).clone()),
        ReturnType::Type(_, result) => {
            mistakes
                .add(Error::new_spanned(result, "name the type instead of `impl …`: the body is another function's"));
            None
        }
        ReturnType::Default => {
            mistakes.add(Error::new_spanned(
                &sig.ident,
                "a function that can fail returns a `Result`: this one returns nothing",
            ));
            None
        }
    };
    if may_repeat(settings) {
        for input in &sig.inputs {
            mistakes.note(check_input(input));
        }
    }
    mistakes.done()?;
    result.ok_or_else(|| Error::new_spanned(sig, "a function that can fail returns a `Result`"))
}

/// Whether an argument can be given to more than one attempt.
fn check_input(input: &FnArg) -> Result<()> {
    const WHY: &str = "the body may run again, or a fallback instead of it, with the same arguments";
    let mistake =
        |tokens: &dyn ToTokens, what: &str| Err(Error::new_spanned(tokens.to_token_stream(), format!("{WHY}: {what}")));
    match input {
        FnArg::Receiver(receiver) if !is_shared(receiver) => mistake(receiver, "take `&self`"),
        FnArg::Typed(PatType { ty, .. }) if matches!(&**ty, Type::Reference(reference) if reference.mutability.is_some()) => {
            mistake(ty, "take this by `&`, or by value if it is `Clone`")
        }
        _ => Ok(()),
    }
}

/// Whether this is `&self`.
fn is_shared(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_none(),
        ReceiverKind::Typed(_, ty) => matches!(&**ty, Type::Reference(reference) if reference.mutability.is_none()),
        _ => false,
    }
}

/// Whether this is `Pin<…>`: nothing of a result.
fn is_pinned(result: &Type) -> bool {
    matches!(result, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Pin"))
}

/// Whether the type cannot be written a second time.
fn has_impl(result: &Type) -> bool {
    struct Found(bool);

    impl<'ast> Visit<'ast> for Found {
        fn visit_type_impl_trait(&mut self, found: &'ast syn::TypeImplTrait) {
            self.0 = true;
            visit::visit_type_impl_trait(self, found);
        }
    }

    let mut found = Found(false);
    found.visit_type(result);
    found.0
}

/// Gives the argument a plain name in the signature, and keeps its pattern for the body.
fn name_it(at: usize, argument: &mut PatType) -> Given {
    let pattern = (*argument.pat).clone();
    let name = match &pattern {
        Pat::Ident(PatIdent { ident, by_ref: None, subpat: None, .. }) if !ident.to_string().starts_with('_') => {
            ident.clone()
        }
        _ => Ident::new(&format!("argument_{at}"), Span::mixed_site()),
    };
    *argument.pat =
        Pat::Ident(PatIdent { attrs: Vec::new(), by_ref: None, mutability: None, ident: name.clone(), subpat: None });
    Given { name, pattern, ty: (*argument.ty).clone() }
}

/// Brings the policy into scope.
fn policy_tokens(settings: &Settings, function: &Ident, policy: &Ident) -> TokenStream {
    match &settings.elsewhere {
        Some(Elsewhere::Named(name)) => quote! {
            ::stormproof::attribute::inventory::submit! {
                ::stormproof::attribute::Named {
                    policy: #name,
                    file: ::core::file!(),
                    line: ::core::line!(),
                }
            }
            let #policy = ::stormproof::Registry::global().policy(#name);
            let #policy = &#policy;
        },
        Some(Elsewhere::At(path)) => quote!(let #policy: &::stormproof::Policy = &#path;),
        None => {
            let name = function.to_string();
            let name = name.trim_start_matches("r#");
            let retry = settings.retry.as_ref().map(crate::stages::Retry::tokens).map(|retry| quote!(.retry(#retry)));
            let breaker =
                settings.breaker.as_ref().map(crate::stages::Breaker::tokens).map(|breaker| quote!(.breaker(#breaker)));
            let deadline = settings.deadline.map(duration_tokens).map(|limit| quote!(.deadline(#limit)));
            let attempt = settings.attempt_timeout.map(duration_tokens).map(|limit| quote!(.attempt_timeout(#limit)));
            quote! {
                static __STORMPROOF_POLICY: ::std::sync::LazyLock<::stormproof::Policy> = ::std::sync::LazyLock::new(|| {
                    ::stormproof::attribute::policy(
                        #name,
                        ::stormproof::Policy::builder(#name) #deadline #retry #breaker #attempt,
                    )
                });
                let #policy: &::stormproof::Policy = &__STORMPROOF_POLICY;
            }
        }
    }
}
