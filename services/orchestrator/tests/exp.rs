
use switchboard_orchestrator::nlu::*;
#[test]
fn exp(){
 let rd=|p:&str|parse_examples(&std::fs::read_to_string(p).unwrap()).unwrap();
 let all=rd("../../demo/nlu/train.jsonl");
 let (mut a,mut r,mut n,mut e,mut t)=(0.,0.,0.,0.,0.);
 for f in 0..5 { let tr:Vec<_>=all.iter().enumerate().filter(|(i,_)|i*7919%5!=f).map(|x|x.1.clone()).collect(); let te:Vec<_>=all.iter().enumerate().filter(|(i,_)|i*7919%5==f).map(|x|x.1.clone()).collect();
  let v=evaluate(&tr,&te); a+=v.accuracy_in_scope/5.; r+=v.oos_recall.unwrap()/5.; n+=v.accuracy_all/5.; e+=v.calibration_error/5.; t+=v.train_seconds/5.; }
 println!("demoCV in {a:.4} oosR {r:.3} all {n:.4} ece {e:.3} t {t:.2}");
 let v=evaluate(&all,&rd("../../demo/nlu/test.jsonl"));
 println!("test   in {:.4} oosR {:.3} all {:.4} ece {:.3} t {:.2} b {}",v.accuracy_in_scope,v.oos_recall.unwrap(),v.accuracy_all,v.calibration_error,v.train_seconds,v.model_bytes);
 if std::env::var("CL").is_ok() { let d="/work/shared/data/clinc150/full_"; let v=evaluate(&rd(&format!("{d}train.jsonl")),&rd(&format!("{d}val.jsonl")));
 println!("clinc  in {:.4} oosR {:.3} all {:.4} ece {:.3} t {:.2} b {}",v.accuracy_in_scope,v.oos_recall.unwrap(),v.accuracy_all,v.calibration_error,v.train_seconds,v.model_bytes);}
}
#[test]
fn talk(){
 use switchboard_orchestrator::understand::*;
 let m=IntentModel::train(&parse_examples(&std::fs::read_to_string("../../demo/nlu/train.jsonl").unwrap()).unwrap());
 let say=|s:&str,f:bool|{ let t=tokio::time::Instant::now(); let u=understand(&m,&Words{message:s,earlier:&["How do I import contacts from a CSV file?"],language:"",in_flow:f,threshold:0.7,now:"2026-11-23T10:00:00Z".parse().unwrap()}); 
 let us=t.elapsed().as_micros();
 println!("{s:.50} | {} {:.2} {:?} | {:?} fills={} s={:.2} a={:.2} {:?} q={:.60} {us}us",u.intent.intent,u.intent.confidence,u.intent.secondary.first().map(|x|x.0.clone()),u.act,u.fills_step,u.sentiment.score,u.sentiment.anger,u.entities.iter().map(|e|format!("{}={}",e.kind,e.normalized)).collect::<Vec<_>>(),u.query.unwrap_or_default());};
 for s in ["reset password","I need to reset my password","billing issue","API error 401","how do I export data","Hello, I need help","I've been trying to fix this for hours!","This is ridiculous!!! Nothing works, I am furious. Get me a real person NOW","and from Excel?","what about Google Sheets","tell me a joke","What is the weather today?","I was charged twice on my credit card","can I speak to a human","where is my order 10023","my order BS-123456 has not arrived","what are your business hours","how much does the professional plan cost?","Can I get a refund?","thanks, that solved it","yes","no","never mind","actually I meant the yearly plan","I want to cancel my subscription","My account is locked","cancel","Import fails with error BF-3007","I get 429 too many requests","hello\nmy import keeps failing","asdfgh","who is the president of france","'; DROP TABLE users; --","<script>alert(1)</script>","what is the rate limit of the API?","I'm Jane Doe, email jane@example.com, my card 4111 1111 1111 1111 was charged $49.99 on March 3","How do I connect Salesforce?","My payment failed","I can't log in","help","need invoice for october","is there a free trial","do you offer discounts for nonprofits?"] { say(s,false);}
 for s in ["10023","jane@example.com","It was order 10023","yes please","what are your hours?","The screen goes black when I press save","no, it's 10024"] { say(s,true);}
 say(&"this is a long message about nothing in particular ".repeat(900),false);
 say(&"1234567890 ".repeat(4500),false);
}
