//! The bAbI reader: what it makes of a file, and what it refuses.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use cl_core::Error;
use cl_data::babi::{Question, Size, load_from, parse};

const TEXT: &str = "1 Mary moved to the bathroom.\n2 Where is Mary? \tbathroom\t1\n3 John got the milk.\n\
                    4 What is John carrying? \tmilk,Apple\t3 1\n1 Mice are afraid of cats.\n";

#[test]
fn stories_sentences_and_questions() {
    let stories = parse(TEXT).unwrap();
    assert_eq!(stories.iter().map(|story| story.sentences.len()).collect::<Vec<_>>(), [4, 1]);
    let [moved, asked, _, carrying] = &stories[0].sentences[..] else { panic!() };
    assert_eq!(moved.words, ["mary", "moved", "to", "the", "bathroom"]);
    assert_eq!(moved.question, None);
    assert_eq!(asked.words, ["where", "is", "mary"]);
    assert_eq!(asked.question, Some(Question { answer: vec!["bathroom".into()], supporting: vec![1] }));
    let list = Question { answer: vec!["milk".into(), "apple".into()], supporting: vec![3, 1] };
    assert_eq!(carrying.question, Some(list));
    // Neither answer nor facts are among the words.
    assert!(!asked.words.iter().any(|word| word == "bathroom" || word == "1"));
}

#[test]
fn what_is_malformed_is_refused_with_its_line() {
    for (text, why) in [
        ("Mary\n", "line 1: no ID and text"),
        ("x Mary moved.\n", "line 1: it does not begin with an ID"),
        ("2 Mary moved.\n", "line 1: the first ID is not 1"),
        ("1 Mary moved.\n3 Mary moved.\n", "line 2: ID 3 does not follow 1"),
        ("1 Mary moved.\n2 Where is Mary?\tbathroom\n", "line 2: no supporting facts"),
        ("1 Mary moved.\n2 Where is Mary?\t\t1\n", "line 2: no answer"),
        ("1 Mary moved.\n2 Where is Mary?\tbathroom\t2\n", "line 2: a supporting fact is not a line before"),
        ("1 Mary moved.\n2 Where is Mary?\tbathroom\tx\n", "line 2: a supporting fact is not a line before"),
        ("1 .\n", "line 1: no words"),
    ] {
        assert_eq!(parse(text).unwrap_err(), why);
    }
    assert_eq!(parse("").unwrap(), []);
}

#[test]
fn files_that_are_not_there_or_not_right_are_refused() {
    let says = |error: Error| error.to_string();
    assert!(says(load_from(None, 0, Size::En).unwrap_err()).contains("0 is not one of 1 to 20"));
    assert!(says(load_from(None, 1, Size::En).unwrap_err()).contains("CL_DATA_DIR is not set"));
    assert!(says(load_from(None, 3, Size::En10k).unwrap_err()).contains("no copy of it is known"));
    let folder = tempfile::tempdir().unwrap();
    let error = load_from(Some(folder.path()), 1, Size::En).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && says(error).contains("there is no"));
    let path = folder.path().join("babi/en");
    fs::create_dir_all(&path).unwrap();
    let path = path.join("qa1_single-supporting-fact_train.txt");
    fs::write(&path, TEXT).unwrap();
    let error = load_from(Some(folder.path()), 1, Size::En).unwrap_err();
    assert!(matches!(error, Error::Format { .. }) && says(error).contains("bytes, where 94346 are right"));
    fs::write(&path, vec![b'x'; 94346]).unwrap();
    assert!(says(load_from(Some(folder.path()), 1, Size::En).unwrap_err()).contains("sha256"));
}

/// The numbers of stories, and of their longest, that are known of the files.
#[test]
fn the_tasks_are_as_large_as_they_should_be() {
    let Some(folder) = std::env::var_os("CL_DATA_DIR").map(PathBuf::from) else {
        println!("skipped: CL_DATA_DIR is not set");
        return;
    };
    if !folder.join("babi").exists() {
        println!("skipped: no {}", folder.join("babi").display());
        return;
    }
    for (task, size, stories, longest) in [
        (1, Size::En, [200, 200], [15, 15]),
        (1, Size::En10k, [2000, 200], [15, 15]),
        (2, Size::En10k, [2000, 200], [73, 93]),
        (6, Size::En, [200, 200], [31, 19]),
        (15, Size::En10k, [2500, 250], [12, 12]),
        (18, Size::En, [198, 199], [24, 24]),
    ] {
        let babi = load_from(Some(&folder), task, size).unwrap();
        let of = [&babi.train, &babi.test];
        assert_eq!(of.map(Vec::len), stories);
        let lengths = of.map(|part| part.iter().map(|story| story.sentences.len()).max().unwrap());
        assert_eq!(lengths, longest, "task {task}");
        let questions = babi.test.iter().flat_map(|s| &s.sentences).filter(|s| s.question.is_some()).count();
        assert!(questions == 1000 || task == 18, "{questions}");
    }
    for task in 1..=20 {
        load_from(Some(&folder), task, Size::En).unwrap();
    }
}
