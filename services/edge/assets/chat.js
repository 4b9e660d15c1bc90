// The customer chat: shows one conversation, sends what the customer writes, follows the server's events.
// Never uses innerHTML, never writes a token to storage, never asks another host, never invents an order of its own:
// what the server has stored stands by `seq`; what it has not confirmed yet stands last.

// ---------------------------------------------------------------- words
// One row per string, one column per language; {n}, {time}, {title} are filled in.
const LANGUAGES = ["en", "de", "fr", "es", "pt", "ja", "ar", "hi", "zh"];
const WORDS = {
  support: ["Support", "Support", "Assistance", "Soporte", "Suporte", "サポート", "الدعم", "सहायता", "客户支持"],
  chat: ["Chat", "Chat", "Discussion", "Chat", "Chat", "チャット", "محادثة", "चैट", "聊天"],
  presenceAi: ["AI assistant", "KI-Assistent", "Assistant IA", "Asistente de IA", "Assistente de IA", "AIアシスタント", "مساعد ذكاء اصطناعي", "AI सहायक", "AI 助手"],
  presenceWait: ["Waiting for a person", "Warten auf eine Person", "En attente d’un conseiller", "Esperando a una persona", "À espera de uma pessoa", "担当者を待っています", "في انتظار أحد الموظفين", "किसी व्यक्ति की प्रतीक्षा", "正在等待人工客服"],
  presenceHuman: ["You are talking with a person", "Sie sprechen mit einem Menschen", "Vous parlez avec un conseiller", "Está hablando con una persona", "Está a falar com uma pessoa", "担当者と会話中です", "أنت تتحدث مع أحد الموظفين", "आप एक व्यक्ति से बात कर रहे हैं", "您正在与人工客服对话"],
  presenceDone: ["Resolved", "Gelöst", "Résolu", "Resuelta", "Resolvida", "解決済み", "تم الحل", "हल हो गया", "已解决"],
  person: ["Talk to a person", "Mit einem Menschen sprechen", "Parler à un conseiller", "Hablar con una persona", "Falar com uma pessoa", "担当者と話す", "التحدث إلى موظف", "किसी व्यक्ति से बात करें", "转人工客服"],
  greeting: ["Hello! How can we help?", "Hallo! Wie können wir helfen?", "Bonjour ! Comment pouvons-nous vous aider ?", "¡Hola! ¿En qué podemos ayudarle?", "Olá! Como podemos ajudar?", "こんにちは。ご用件をお聞かせください。", "مرحبًا! كيف يمكننا مساعدتك؟", "नमस्ते! हम आपकी क्या मदद कर सकते हैं?", "您好！有什么可以帮您？"],
  intro: ["Ask in your own words. An AI assistant answers at once, and a person takes over whenever you want.", "Fragen Sie in Ihren eigenen Worten. Ein KI-Assistent antwortet sofort, und auf Wunsch übernimmt ein Mensch.", "Posez votre question simplement. Un assistant IA répond aussitôt, et un conseiller prend le relais dès que vous le souhaitez.", "Pregunte con sus propias palabras. Un asistente de IA responde al momento y una persona le atiende cuando usted quiera.", "Pergunte com as suas palavras. Um assistente de IA responde de imediato e uma pessoa assume quando quiser.", "ご自由にご質問ください。AIアシスタントがすぐにお答えし、ご希望の際は担当者に交代します。", "اكتب سؤالك بكلماتك. يجيبك مساعد ذكاء اصطناعي فورًا، ويتولى موظف المحادثة متى شئت.", "अपने शब्दों में पूछें। AI सहायक तुरंत उत्तर देता है, और आप जब चाहें कोई व्यक्ति बात संभाल लेता है।", "请直接描述您的问题。AI 助手会立即回答，您也可以随时转接人工客服。"],
  log: ["Conversation", "Unterhaltung", "Conversation", "Conversación", "Conversa", "会話", "المحادثة", "बातचीत", "对话"],
  suggestions: ["Suggested replies", "Antwortvorschläge", "Réponses suggérées", "Respuestas sugeridas", "Respostas sugeridas", "返信の候補", "ردود مقترحة", "सुझाए गए उत्तर", "建议回复"],
  input: ["Your message", "Ihre Nachricht", "Votre message", "Su mensaje", "A sua mensagem", "メッセージ", "رسالتك", "आपका संदेश", "您的消息"],
  placeholder: ["Write a message…", "Nachricht schreiben…", "Écrivez un message…", "Escriba un mensaje…", "Escreva uma mensagem…", "メッセージを入力…", "اكتب رسالة…", "संदेश लिखें…", "输入消息…"],
  send: ["Send", "Senden", "Envoyer", "Enviar", "Enviar", "送信", "إرسال", "भेजें", "发送"],
  hint: ["Enter sends, Shift + Enter starts a new line", "Enter sendet, Umschalt + Enter beginnt eine neue Zeile", "Entrée envoie, Maj + Entrée va à la ligne", "Intro envía, Mayús + Intro inicia otra línea", "Enter envia, Shift + Enter muda de linha", "Enterで送信、Shift + Enterで改行", "Enter للإرسال، وShift + Enter لسطر جديد", "Enter से भेजें, Shift + Enter से नई पंक्ति", "Enter 发送，Shift + Enter 换行"],
  jump: ["New messages", "Neue Nachrichten", "Nouveaux messages", "Mensajes nuevos", "Novas mensagens", "新着メッセージ", "رسائل جديدة", "नए संदेश", "新消息"],
  you: ["You", "Sie", "Vous", "Usted", "Você", "あなた", "أنت", "आप", "您"],
  assistant: ["AI assistant", "KI-Assistent", "Assistant IA", "Asistente de IA", "Assistente de IA", "AIアシスタント", "مساعد ذكاء اصطناعي", "AI सहायक", "AI 助手"],
  agent: ["Support agent", "Kundenberatung", "Conseiller", "Agente", "Agente", "担当者", "موظف الدعم", "सहायता कर्मी", "人工客服"],
  notice: ["Notice", "Hinweis", "Information", "Aviso", "Aviso", "お知らせ", "إشعار", "सूचना", "通知"],
  typingAi: ["The assistant is writing…", "Der Assistent schreibt…", "L’assistant écrit…", "El asistente está escribiendo…", "O assistente está a escrever…", "アシスタントが入力中…", "المساعد يكتب…", "सहायक लिख रहा है…", "助手正在输入…"],
  typingHuman: ["The support agent is writing…", "Die Kundenberatung schreibt…", "Le conseiller écrit…", "El agente está escribiendo…", "O agente está a escrever…", "担当者が入力中…", "الموظف يكتب…", "सहायता कर्मी लिख रहा है…", "客服正在输入…"],
  sending: ["Sending…", "Wird gesendet…", "Envoi…", "Enviando…", "A enviar…", "送信中…", "جارٍ الإرسال…", "भेजा जा रहा है…", "发送中…"],
  failed: ["Not sent", "Nicht gesendet", "Non envoyé", "No enviado", "Não enviada", "未送信", "لم تُرسل", "नहीं भेजा गया", "未发送"],
  retry: ["Try again", "Erneut versuchen", "Réessayer", "Reintentar", "Tentar de novo", "再試行", "إعادة المحاولة", "फिर कोशिश करें", "重试"],
  source: ["Source {n}: {title}", "Quelle {n}: {title}", "Source {n} : {title}", "Fuente {n}: {title}", "Fonte {n}: {title}", "出典{n}：{title}", "المصدر {n}: {title}", "स्रोत {n}: {title}", "来源 {n}：{title}"],
  article: ["Open the article", "Artikel öffnen", "Ouvrir l’article", "Abrir el artículo", "Abrir o artigo", "記事を開く", "فتح المقال", "लेख खोलें", "打开文章"],
  rate: ["How did we do?", "Wie zufrieden sind Sie?", "Êtes-vous satisfait ?", "¿Cómo lo hemos hecho?", "Como nos saímos?", "対応はいかがでしたか？", "ما رأيك في خدمتنا؟", "हमारी सेवा कैसी रही?", "您对本次服务满意吗？"],
  star: ["{n} of 5 stars", "{n} von 5 Sternen", "{n} étoiles sur 5", "{n} de 5 estrellas", "{n} de 5 estrelas", "5つ星中{n}", "{n} من 5 نجوم", "5 में से {n} तारे", "{n} 星（共 5 星）"],
  comment: ["Anything to add? (optional)", "Möchten Sie etwas hinzufügen? (freiwillig)", "Un commentaire ? (facultatif)", "¿Algo que añadir? (opcional)", "Algo a acrescentar? (opcional)", "ご意見（任意）", "هل تود إضافة شيء؟ (اختياري)", "कुछ जोड़ना चाहेंगे? (वैकल्पिक)", "还有什么想说的？（选填）"],
  rateSend: ["Send rating", "Bewertung senden", "Envoyer la note", "Enviar valoración", "Enviar avaliação", "評価を送信", "إرسال التقييم", "रेटिंग भेजें", "提交评价"],
  rateFirst: ["Choose a number of stars first.", "Bitte wählen Sie zuerst die Sterne.", "Choisissez d’abord un nombre d’étoiles.", "Elija primero las estrellas.", "Escolha primeiro as estrelas.", "先に星の数を選んでください。", "اختر عدد النجوم أولًا.", "पहले तारे चुनें।", "请先选择星级。"],
  thanks: ["Thank you for your rating.", "Danke für Ihre Bewertung.", "Merci pour votre avis.", "Gracias por su valoración.", "Obrigado pela sua avaliação.", "評価をありがとうございました。", "شكرًا على تقييمك.", "आपकी रेटिंग के लिए धन्यवाद।", "感谢您的评价。"],
  resolved: ["This conversation is closed. Write again to reopen it.", "Diese Unterhaltung ist abgeschlossen. Schreiben Sie, um sie wieder zu öffnen.", "Cette conversation est close. Écrivez pour la rouvrir.", "Esta conversación está cerrada. Escriba para reabrirla.", "Esta conversa está encerrada. Escreva para a reabrir.", "この会話は終了しました。メッセージを送ると再開します。", "أُغلقت هذه المحادثة. اكتب رسالة لإعادة فتحها.", "यह बातचीत समाप्त हो गई है। फिर खोलने के लिए संदेश लिखें।", "此对话已结束。再次发送消息即可重新打开。"],
  fresh: ["New conversation", "Neue Unterhaltung", "Nouvelle conversation", "Nueva conversación", "Nova conversa", "新しい会話", "محادثة جديدة", "नई बातचीत", "新对话"],
  answerBy: ["A person answers by {time}", "Ein Mensch antwortet bis {time}", "Un conseiller vous répond avant {time}", "Una persona le responderá antes de las {time}", "Uma pessoa responde até {time}", "{time}までに担当者が回答します", "سيجيبك موظف قبل {time}", "{time} तक कोई व्यक्ति उत्तर देगा", "人工客服将在 {time} 前回复"],
  answerSoon: ["A person answers as soon as possible", "Ein Mensch antwortet so bald wie möglich", "Un conseiller vous répond dès que possible", "Una persona le responderá lo antes posible", "Uma pessoa responde logo que possível", "担当者ができるだけ早く回答します", "سيجيبك موظف في أقرب وقت", "कोई व्यक्ति यथाशीघ्र उत्तर देगा", "人工客服将尽快回复"],
  queue: ["Team", "Team", "Équipe", "Equipo", "Equipa", "チーム", "الفريق", "टीम", "团队"],
  caseNumber: ["Case", "Fall", "Dossier", "Caso", "Caso", "ケース", "الحالة", "केस", "工单"],
  offline: ["You are offline. Your messages are sent as soon as you are back.", "Sie sind offline. Ihre Nachrichten werden gesendet, sobald Sie wieder verbunden sind.", "Vous êtes hors ligne. Vos messages partiront à votre retour.", "Está sin conexión. Sus mensajes se enviarán en cuanto vuelva.", "Está sem ligação. As mensagens seguem assim que voltar.", "オフラインです。接続が戻り次第送信します。", "أنت غير متصل. ستُرسل رسائلك فور عودة الاتصال.", "आप ऑफ़लाइन हैं। जुड़ते ही आपके संदेश भेजे जाएँगे।", "您已离线，恢复连接后会自动发送消息。"],
  reconnecting: ["Connection lost. Reconnecting…", "Verbindung unterbrochen. Wird wiederhergestellt…", "Connexion perdue. Reconnexion…", "Conexión perdida. Reconectando…", "Ligação perdida. A religar…", "接続が切れました。再接続中…", "انقطع الاتصال. جارٍ إعادة الاتصال…", "संपर्क टूट गया। फिर जोड़ा जा रहा है…", "连接已断开，正在重新连接…"],
  tooLong: ["{n} characters too many", "{n} Zeichen zu viel", "{n} caractères de trop", "Sobran {n} caracteres", "{n} caracteres a mais", "{n}文字超過しています", "{n} أحرف زائدة", "{n} अक्षर अधिक हैं", "超出 {n} 个字符"],
  noGuests: ["Please sign in first", "Bitte melden Sie sich zuerst an", "Veuillez d’abord vous connecter", "Inicie sesión primero", "Inicie sessão primeiro", "先にサインインしてください", "يرجى تسجيل الدخول أولًا", "कृपया पहले साइन इन करें", "请先登录"],
  noGuestsHelp: ["This chat is for signed-in customers. Sign in on our website and open the chat from there.", "Dieser Chat ist für angemeldete Kunden. Melden Sie sich auf unserer Website an und öffnen Sie den Chat von dort.", "Cette discussion est réservée aux clients connectés. Connectez-vous sur notre site et ouvrez-la depuis celui-ci.", "Este chat es para clientes registrados. Inicie sesión en nuestra web y ábralo desde allí.", "Este chat é para clientes com sessão iniciada. Inicie sessão no nosso site e abra-o a partir daí.", "このチャットはサインイン済みのお客様専用です。当社サイトでサインインしてからチャットを開いてください。", "هذه المحادثة للعملاء المسجلين. سجّل الدخول في موقعنا ثم افتحها من هناك.", "यह चैट साइन इन किए ग्राहकों के लिए है। हमारी वेबसाइट पर साइन इन करके वहीं से चैट खोलें।", "此聊天仅供已登录的客户使用。请在我们的网站登录后再打开聊天。"],
  signedOut: ["Your sign-in has expired", "Ihre Anmeldung ist abgelaufen", "Votre session a expiré", "Su sesión ha caducado", "A sua sessão expirou", "サインインの有効期限が切れました", "انتهت صلاحية تسجيل الدخول", "आपका साइन-इन समाप्त हो गया है", "您的登录已过期"],
  signedOutHelp: ["Open the chat again from the page you came from. Your conversation is kept.", "Öffnen Sie den Chat erneut von der Seite, von der Sie kamen. Ihre Unterhaltung bleibt erhalten.", "Rouvrez la discussion depuis la page d’où vous venez. Votre conversation est conservée.", "Abra el chat de nuevo desde la página de la que vino. Su conversación se conserva.", "Abra o chat de novo na página de onde veio. A sua conversa fica guardada.", "元のページからチャットを開き直してください。会話は保存されています。", "افتح المحادثة مجددًا من الصفحة التي جئت منها. محادثتك محفوظة.", "जिस पृष्ठ से आए थे, वहाँ से चैट फिर खोलें। आपकी बातचीत सुरक्षित है।", "请从原来的页面重新打开聊天，您的对话已保留。"],
  trouble: ["Something went wrong. Please try again.", "Etwas ist schiefgegangen. Bitte versuchen Sie es erneut.", "Une erreur s’est produite. Veuillez réessayer.", "Algo ha fallado. Inténtelo de nuevo.", "Algo correu mal. Tente de novo.", "問題が発生しました。もう一度お試しください。", "حدث خطأ. يرجى المحاولة مجددًا.", "कुछ गड़बड़ हुई। कृपया फिर कोशिश करें।", "出现问题，请重试。"],
};
// Only English has a sentence the understanding is sure to know; elsewhere the button asks through the API.
const PERSON_TEXT = { en: "I would like to talk to a human agent." };

const lang = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase())
  .find((tag) => LANGUAGES.includes(tag)) ?? "en";
const column = LANGUAGES.indexOf(lang);

function say(key, values = {}) {
  return WORDS[key][column].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const number = new Intl.NumberFormat(lang);
const clock = new Intl.DateTimeFormat(lang, { hour: "numeric", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(lang, { weekday: "short", hour: "numeric", minute: "2-digit" });

function when(iso) {
  const time = iso ? new Date(iso) : new Date();
  if (Number.isNaN(time.getTime())) return "";
  return (time.toDateString() === new Date().toDateString() ? clock : dayAndClock).format(time);
}

// ---------------------------------------------------------------- page
const $ = (id) => document.getElementById(id);
const list = $("messages");
const scroller = $("scroller");
const input = $("chat-input");

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function button(className, label, action) {
  const node = make("button", className, label);
  node.type = "button";
  node.addEventListener("click", action);
  return node;
}

function reveal(node, text) {
  node.hidden = !text;
  if (node.textContent !== text) node.textContent = text;
}

function translatePage() {
  document.documentElement.lang = lang;
  document.documentElement.dir = lang === "ar" ? "rtl" : "ltr";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = say(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", say(node.dataset.tLabel));
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = say(node.dataset.tPlaceholder);
}

// ---------------------------------------------------------------- text to nodes
// Light Markdown. Words are never lost, and blocks keep a newline between them so that textContent reads well.
const INLINE = /`([^`\n]+)`|\*\*(?=\S)([^\n]+?)\*\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|https?:\/\/[^\s<>"“”«»。，、）】」]+/g;
const BULLET = /^\s*(?:[-*•]|(\d{1,3})[.)])\s+(.*)$/;

function anchor(url, label) {
  const node = make("a", "", label);
  node.href = url;
  node.target = "_blank";
  node.rel = "noopener noreferrer";
  return node;
}

// A full stop after an address ends the sentence, not the address; so does a bracket that the address did not open.
function bareLink(match) {
  let url = match.replace(/[.,;:!?'*\]]+$/, "");
  while (url.endsWith(")") && url.split(")").length > url.split("(").length) url = url.slice(0, -1).replace(/[.,;:!?]+$/, "");
  return [anchor(url, url), match.slice(url.length)];
}

function inline(text, { links = true } = {}) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index));
    const [whole, code, bold, label, url] = match;
    if (code) nodes.push(make("code", "", code));
    else if (bold) nodes.push(make("strong", "", ...inline(bold, { links })));
    else if (!links) nodes.push(label ?? whole);
    else if (label) nodes.push(anchor(url, label));
    else nodes.push(...bareLink(whole));
    end = match.index + whole.length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

// Splits a text into [kind, lines] runs; the only place that knows how blocks begin and end.
function runs(text) {
  const found = [];
  let open = null;
  for (const line of text.replace(/\r\n?/g, "\n").split("\n")) {
    const fence = line.trimStart().startsWith("```");
    if (open?.kind === "code") {
      if (fence) open = null; else open.lines.push(line);
      continue;
    }
    const bullet = line.match(BULLET);
    const kind = fence ? "code" : bullet ? (bullet[1] ? "ol" : "ul") : line.trim() ? "p" : null;
    if (open?.kind !== kind || fence) {
      open = kind && { kind, lines: [], start: Number(bullet?.[1] ?? 1) };
      if (open) found.push(open);
    }
    if (open && !fence) open.lines.push(bullet ? bullet[2] : line);
  }
  return found;
}

function block({ kind, lines, start }, options) {
  if (kind === "code") return make("pre", "", make("code", "", lines.join("\n")));
  if (kind === "p") return make("p", "", ...inline(lines.join("\n").replace(/^#{1,4}\s+(.*)$/gm, "**$1**"), options));
  const node = make(kind, "", ...lines.flatMap((line, i) => [i ? "\n" : "", make("li", "", ...inline(line, options))]));
  if (kind === "ol") node.start = start;
  return node;
}

function richText(text, options) {
  return runs(text).flatMap((run, i) => [i ? "\n" : "", block(run, options)]);
}

// ---------------------------------------------------------------- state
const MAX_LENGTH = 5000;
const state = {
  organization: "", guests: true, started: false, wantsPerson: false,
  status: "active", owner: "ai", escalation: null, statusSeq: -1, readSeq: 0,
};

function recall(key, otherwise) {
  try { return JSON.parse(sessionStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

// A frame may be refused storage; the chat then works, and only a reload starts anew.
function remember(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  } catch { /* nothing to do */ }
}

let conversation = recall("switchboard.conversation", null); // {id, seq, rated}
const outbox = recall("switchboard.outbox", []).map(({ id, text }) => ({ id, text })); // [{id, text, li, failed, sentOn}]

const saveConversation = () => remember("switchboard.conversation", conversation);
const saveOutbox = () => remember("switchboard.outbox", outbox.filter((item) => !item.failed).map(({ id, text }) => ({ id, text })));

function saw(seq) {
  if (!conversation || !(seq > conversation.seq)) return;
  conversation.seq = seq;
  saveConversation();
}

// crypto.randomUUID exists in secure contexts only; a laptop's plain http address on the local network is none.
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// ---------------------------------------------------------------- server
class SignedOut extends Error {}
class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || say("trouble"));
    this.status = status;
    this.reason = body?.reason ?? "";
  }
}

const isGone = ({ status, reason }) => status === 404 || status === 403 || /not_?found/i.test(reason ?? "");

// The fragment never leaves the browser; it is left in place because it is what lets a reload keep the sign-in.
const auth = { value: null, until: 0, asking: null, linked: false };

function takeTokenFromLink() {
  const value = new URLSearchParams(location.hash.slice(1)).get("token");
  if (value) Object.assign(auth, { value, until: Infinity, linked: true });
  return Boolean(value);
}

function dropToken() {
  auth.value = null;
}

async function askGuestToken() {
  const response = await fetch("/auth/guest", {
    method: "POST", headers: { "content-type": "application/json" }, body: "{}", credentials: "same-origin",
  });
  if (response.status === 403 || response.status === 404) throw new SignedOut("noGuests");
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
  const { access_token: value, expires_in: seconds } = await response.json();
  Object.assign(auth, { value, until: Date.now() + (seconds ?? 3600) * 1000 - 30_000 });
}

async function token() {
  if (auth.value && Date.now() < auth.until) return auth.value;
  if (auth.linked) throw new SignedOut("signedOut");
  if (!state.guests) throw new SignedOut("noGuests");
  auth.asking ??= askGuestToken().finally(() => { auth.asking = null; });
  await auth.asking;
  return auth.value;
}

async function api(method, path, body, key = uuid(), again = true) {
  const headers = { authorization: `Bearer ${await token()}`, accept: "application/json" };
  if (body) Object.assign(headers, { "content-type": "application/json", "idempotency-key": key });
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.status === 401 && again) {
    dropToken();
    return api(method, path, body, key, false);
  }
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
  return response.status === 204 ? null : response.json();
}

const conversationPath = (tail = "") => `/v1/conversations/${encodeURIComponent(conversation.id)}${tail}`;

// ---------------------------------------------------------------- list of messages
const KINDS = {
  user: ["user-message", "you"], ai_agent: ["ai-message", "assistant"],
  human_agent: ["agent-message", "agent"], system: ["system-message", "notice"],
};
const shown = new Map(); // message id -> li, also for those still waiting for their turn
const seqOf = (li) => Number(li.dataset.seq ?? Infinity);

// Name and time are attributes which the style sheet prints: the text of a message is the message and nothing else.
function messageItem(message) {
  const [kind, who] = KINDS[message.sender_type] ?? KINDS.system;
  const li = make("li", `message ${kind}`);
  li.dataset.who = message.metadata?.agent_name ?? say(who);
  li.dataset.time = when(message.created_at);
  if (message.seq != null) li.dataset.seq = message.seq;
  if (message.language) li.lang = message.language;
  const body = make("div", "text", ...(kind === "user-message" ? [message.content] : richText(message.content)));
  body.dir = "auto";
  li.append(body);
  addAttachments(li, message.attachments ?? []);
  addCitations(li, message.citations ?? []);
  return li;
}

function addAttachments(li, attachments) {
  const links = attachments.filter((file) => /^https?:\/\//.test(file.url ?? "")).map((file) => anchor(file.url, file.name ?? file.url));
  if (links.length) li.append("\n", make("p", "files", ...links));
}

// The quoted passage is written only while it is open, so that what is not read is not part of the message.
function addCitations(li, citations) {
  if (!citations.length) return;
  const quote = make("div", "quote");
  quote.hidden = true;
  const buttons = citations.map((citation, i) => {
    const node = button("cite", `${i + 1}`, () => {
      const opens = node.getAttribute("aria-expanded") !== "true";
      for (const other of buttons) other.setAttribute("aria-expanded", String(opens && other === node));
      quote.hidden = !opens;
      quote.replaceChildren(...(opens ? quoteNodes(citation) : []));
    });
    node.dataset.title = citation.title ?? "";
    node.setAttribute("aria-expanded", "false");
    node.setAttribute("aria-label", say("source", { n: i + 1, title: citation.title ?? "" }));
    return node;
  });
  li.append("\n", make("div", "cites", ...buttons), quote);
}

function quoteNodes({ title, quote, url }) {
  const nodes = [make("strong", "", title ?? ""), "\n", make("blockquote", "", quote ?? "")];
  if (/^https?:\/\//.test(url ?? "")) nodes.push("\n", anchor(url, say("article")));
  return nodes;
}

function place(li) {
  let before = null;
  for (let item = list.lastElementChild; item; item = item.previousElementSibling) {
    if (item === li) continue;
    if (seqOf(item) <= seqOf(li)) break;
    before = item;
  }
  // An item that stands right is not touched: moving it would announce it twice.
  if (li.parentNode !== list || li.nextElementSibling !== before) list.insertBefore(li, before);
  $("welcome").hidden = true;
}

// Messages of the other side that arrive together are shown one after the other, a second apart, so that eyes and
// screen readers can follow; history and the customer's own words never wait.
const GAP = 1000;
const waiting = { queue: [], timer: 0, last: -Infinity };

function queueMessage(entry) {
  waiting.queue.push(entry);
  pump();
}

function pump() {
  if (waiting.timer) return;
  const pause = waiting.queue.length ? waiting.last + GAP - performance.now() : 0;
  if (pause > 0) {
    waiting.timer = setTimeout(() => { waiting.timer = 0; pump(); }, pause);
  } else if (waiting.queue.length) {
    showNext();
    pump();
  }
}

function showNext() {
  const { li, after } = waiting.queue.shift();
  waiting.last = performance.now();
  place(li);
  showReplies([]);
  after?.();
  noteNew();
}

function showAllWaiting() {
  clearTimeout(waiting.timer);
  waiting.timer = 0;
  while (waiting.queue.length) showNext();
  waiting.last = -Infinity; // the customer spoke: the answer comes at once
}

function addMessage(message, { live = true, after } = {}) {
  saw(message.seq);
  if (!message.id || shown.has(message.id) || message.deleted_at) return;
  const li = messageItem(message);
  shown.set(message.id, li);
  if (live && message.sender_type !== "user") return queueMessage({ li, after });
  showAllWaiting();
  place(li);
}

function clearList({ keepPending }) {
  showAllWaiting();
  shown.clear();
  list.replaceChildren(...outbox.filter((item) => keepPending && item.li).map((item) => item.li));
  $("welcome").hidden = list.childElementCount > 0;
  hideDraft();
  showReplies([]);
}

// ---------------------------------------------------------------- scrolling and unread
let stuck = true;
let unread = 0;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
  stuck = true;
  $("jump").hidden = true;
}

// A scroll event that comes with a new size is the layout's doing (a draft gave way to its message), not the reader's.
let knownSize = "";
const size = () => `${scroller.scrollHeight}/${scroller.clientHeight}`;

function onScroll() {
  if (size() !== knownSize) return;
  stuck = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  if (stuck) $("jump").hidden = true;
}

function onResize() {
  if (stuck) toEnd();
  knownSize = size();
}

function noteNew() {
  if (!stuck) $("jump").hidden = false;
  if (document.visibilityState === "visible") return markRead();
  unread += 1;
  showTitle();
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}${state.organization || say("support")} · ${say("chat")}`;
}

function markRead() {
  unread = 0;
  showTitle();
  if (!link.ready || !conversation || conversation.seq <= state.readSeq) return;
  state.readSeq = conversation.seq;
  emit("read_receipt", { conversation_id: conversation.id, seq: state.readSeq });
}

// ---------------------------------------------------------------- outbox
function send(text) {
  const content = text.trim();
  if (!content || [...content].length > MAX_LENGTH) return false;
  showAllWaiting();
  showReplies([]);
  reveal($("thanks"), "");
  const item = { id: uuid(), text: content };
  outbox.push(item);
  saveOutbox();
  showPending(item);
  toEnd();
  transmit();
  return true;
}

function showPending(item) {
  item.li ??= messageItem({ sender_type: "user", content: item.text });
  item.failed = false;
  item.li.querySelector(".failure")?.remove();
  item.li.classList.remove("failed");
  item.li.classList.add("pending");
  item.li.dataset.time = say("sending");
  delete item.li.dataset.seq;
  place(item.li);
}

function transmit() {
  if (!link.ready) return void connect();
  for (const item of outbox) {
    if (item.failed || item.sentOn === link.socket) continue;
    item.sentOn = link.socket;
    emit("message", { conversation_id: conversation.id, content: item.text, client_message_id: item.id });
    expectAck(item, link.socket);
  }
}

// A dead connection can look open for minutes; a message that nobody confirms is the proof.
function expectAck(item, socket) {
  setTimeout(() => {
    if (outbox.includes(item) && !item.failed) giveUp(socket);
  }, 20_000);
}

function confirmOwn(item, { message_id: id, seq, message }) {
  outbox.splice(outbox.indexOf(item), 1);
  saveOutbox();
  if (shown.has(id)) return item.li.remove(); // history had it already
  shown.set(id, item.li);
  item.li.classList.remove("pending", "failed");
  item.li.querySelector(".failure")?.remove();
  item.li.dataset.time = when(message?.created_at);
  item.li.dataset.seq = seq;
  place(item.li);
}

// A failed message keeps the place where it failed, so that later answers stand after it.
function fail(item, detail) {
  item.failed = true;
  item.sentOn = null;
  saveOutbox();
  item.li.classList.replace("pending", "failed");
  item.li.dataset.time = say("failed");
  item.li.dataset.seq = (conversation?.seq ?? 0) + 0.5;
  item.li.querySelector(".failure")?.remove();
  item.li.append("\n", make("div", "failure", make("span", "", detail), " ", button("retry", say("retry"), () => retry(item))));
}

function retry(item) {
  outbox.push(...outbox.splice(outbox.indexOf(item), 1)); // now the newest, as it stands in the list
  showPending(item);
  saveOutbox();
  toEnd();
  input.focus();
  transmit();
}

// ---------------------------------------------------------------- connection
const link = { socket: null, ready: false, opening: false, opened: false, attempts: 0, timer: 0, bannerTimer: 0 };
const hasUnsent = () => outbox.some((item) => !item.failed);
const isWanted = () => state.started && Boolean(conversation || hasUnsent() || state.wantsPerson);

function emit(event, data) {
  if (link.socket?.readyState === WebSocket.OPEN) link.socket.send(JSON.stringify({ event, data }));
}

// The conversation begins with the first message: whoever only looks at the page leaves nothing behind.
async function connect() {
  if (link.socket || link.opening || !isWanted()) return;
  link.opening = true;
  clearTimeout(link.timer);
  try {
    openSocket(await token());
  } catch (error) {
    trouble(error, connect);
  } finally {
    link.opening = false;
  }
}

function openSocket(value) {
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
  const socket = new WebSocket(url, ["switchboard.v1", `bearer.${value}`]);
  Object.assign(link, { socket, ready: false, opened: false });
  const patience = setTimeout(() => { if (!link.ready) giveUp(socket); }, 15_000);
  const mine = (action) => (event) => { if (link.socket === socket) action(event); };
  socket.addEventListener("open", mine(sayHello));
  socket.addEventListener("message", mine(({ data }) => receive(data)));
  socket.addEventListener("close", (event) => { clearTimeout(patience); mine(onClose)(event); });
}

function sayHello() {
  link.opened = true;
  const known = conversation ? { conversation_id: conversation.id, last_seq: conversation.seq } : {};
  emit("connect", { ...known, channel: "web", deltas: true, acks: true });
}

function onReady() {
  link.ready = true;
  link.attempts = 0;
  clearTimeout(link.bannerTimer);
  showBanner("");
  transmit();
  if (state.wantsPerson) askForPerson();
  if (document.visibilityState === "visible") markRead();
}

function hangUp() {
  const { socket } = link;
  Object.assign(link, { socket: null, ready: false });
  clearTimeout(link.timer);
  socket?.close(1000);
}

// A dead connection may take minutes to say that it closed; do not wait for it.
function giveUp(socket, code = 4000) {
  if (link.socket !== socket) return;
  onClose({ code });
  socket.close(4000);
}

async function onClose({ code }) {
  Object.assign(link, { socket: null, ready: false });
  showTyping(null);
  hideDraft();
  // The browser does not tell a refused token from a dead server, so the next try brings a new one.
  if (code === 4401 || !link.opened) await renewToken();
  if (code === 4403 || code === 4404) dropConversation();
  // Nobody is here and nobody is coming: the next sign of life connects again.
  if (code === 4408 && state.status !== "escalated" && !hasUnsent()) return;
  if (code === 4429) link.attempts = Math.max(link.attempts, 5);
  tryLater(connect);
}

async function renewToken() {
  if (!auth.linked) return dropToken();
  // A signed-in customer is never quietly turned into a guest; ask whether the token is really dead.
  try { await api("GET", "/v1/conversations?limit=1"); } catch (error) {
    if (error instanceof SignedOut || error.status === 401) dropToken();
  }
}

function tryLater(action, atLeast = 0) {
  if (state.started && !isWanted()) return;
  const ceiling = Math.min(500 * 2 ** link.attempts, 20_000);
  const delay = Math.max(atLeast, ceiling / 2 + Math.random() * (ceiling / 2));
  link.attempts += 1;
  clearTimeout(link.timer);
  clearTimeout(link.bannerTimer);
  link.timer = setTimeout(action, delay);
  link.bannerTimer = setTimeout(() => showBanner(say(navigator.onLine ? "reconnecting" : "offline")), link.attempts > 1 ? 0 : 800);
}

function trouble(error, action) {
  if (error instanceof SignedOut || error.status === 401) return showNotice(error instanceof SignedOut ? error.message : "signedOut");
  tryLater(action, error.status === 429 ? 10_000 : 0);
}

function hurry() {
  if (!state.started) return;
  if (link.ready) return showBanner("");
  link.attempts = 0;
  connect();
}

function dropConversation() {
  conversation = null;
  saveConversation();
  Object.assign(state, { status: "active", owner: "ai", escalation: null, statusSeq: -1, readSeq: 0 });
  clearList({ keepPending: true });
  for (const item of outbox) if (item.failed) item.li.dataset.seq = 0;
  reveal($("thanks"), "");
  showStatus();
}

function adopt(id, seq = 0) {
  conversation = { id, seq, rated: false };
  saveConversation();
}

// ---------------------------------------------------------------- events
function receive(frame) {
  let event, data;
  try { ({ event, data } = JSON.parse(frame)); } catch { return; }
  const mine = event === "message_received" && outbox.find((item) => item.id === data.client_message_id);
  // A message to a conversation closed long ago is answered in a new one, linked to it.
  if (mine && conversation && data.conversation_id !== conversation.id) { dropConversation(); adopt(data.conversation_id); }
  if (conversation && data?.conversation_id && data.conversation_id !== conversation.id) return;
  EVENTS[event]?.(data, mine);
}

const EVENTS = {
  status_update(data) {
    if (!conversation) adopt(data.conversation_id);
    if (link.ready) saw(data.seq); // the first one answers `connect`; what was missed may still come after it
    if (data.message) addMessage({ seq: data.seq, ...data.message });
    applyStatus(data);
    if (!link.ready) onReady();
  },
  message_received(data, mine) {
    saw(data.seq);
    if (mine) return confirmOwn(mine, data);
    addMessage({ ...data.message, id: data.message_id, seq: data.seq });
    if (data.message?.sender_type === "human_agent") showTyping(null);
  },
  ai_response(data) {
    if (data.done === false) return growDraft(data);
    saw(data.seq);
    applyStatus(data);
    if (!data.response) return endTurn();
    const message = { ...data, id: data.message_id, sender_type: "ai_agent", content: data.response };
    if (shown.has(message.id)) return endTurn();
    addMessage(message, { after: () => { endTurn(); showReplies(data.actions ?? data.suggested_actions ?? []); } });
  },
  typing_indicator({ who, typing }) {
    if (who !== "user") showTyping(typing ? who : null);
  },
  error(problem) {
    const item = outbox.find((one) => one.id === problem.client_message_id);
    if (problem.status === 401) return giveUp(link.socket, 4401);
    if (isGone(problem) && conversation) {
      if (item) item.sentOn = null;
      hangUp();
      dropConversation();
      return void connect();
    }
    if (item) return fail(item, problem.detail || problem.title || say("trouble"));
    flash(problem.detail || say("trouble"));
  },
};

function endTurn() {
  hideDraft();
  showTyping(null);
}

// ---------------------------------------------------------------- what stands outside the list
let draft = { id: null, text: "" };

function growDraft({ message_id: id, delta }) {
  if (draft.id !== id) draft = { id, text: "" };
  draft.text += delta ?? "";
  if (shown.has(id) || !draft.text.trim()) return;
  $("draft").hidden = false;
  $("draft").replaceChildren(make("div", "text", ...richText(draft.text, { links: false })));
  $("typing").hidden = true;
}

function hideDraft() {
  draft = { id: null, text: "" };
  $("draft").hidden = true;
  $("draft").replaceChildren();
}

let typingTimer = 0;

function showTyping(who) {
  clearTimeout(typingTimer);
  $("typing").hidden = !who || !$("draft").hidden;
  $("typing-text").textContent = who ? say(who === "human" ? "typingHuman" : "typingAi") : "";
  if (who) typingTimer = setTimeout(() => showTyping(null), 45_000);
}

function showReplies(actions) {
  const choices = actions.filter((action) => (action.action_type ?? action.type) === "quick_reply");
  $("replies").replaceChildren(...choices.map(({ parameters = {} }) => {
    const label = parameters.label ?? parameters.send ?? "";
    return button("reply", label, () => { send(parameters.send ?? label); input.focus(); });
  }));
  $("replies").hidden = choices.length === 0;
}

const showBanner = (text) => reveal($("banner"), text);

function flash(text) {
  showBanner(text);
  setTimeout(() => { if ($("banner").textContent === text) showBanner(""); }, 8000);
}

function showNotice(key) {
  hangUp();
  showBanner("");
  $("notice").replaceChildren(make("h2", "", say(key)), make("p", "", say(`${key}Help`)));
  setUsable(false);
}

function setUsable(usable) {
  $("notice").hidden = usable;
  $("welcome").hidden = !usable || list.childElementCount > 0;
  input.disabled = !usable;
  $("send-button").disabled = !usable;
  showStatus();
}

function applyStatus({ status, owner, escalation, seq }) {
  if (!status || (seq ?? Infinity) < state.statusSeq) return;
  state.statusSeq = seq ?? state.statusSeq;
  Object.assign(state, { status, owner: owner ?? state.owner });
  if (escalation) state.escalation = escalation;
  if (status !== "escalated" && owner !== "human") state.escalation = null;
  showStatus();
  if (status === "escalated" && !state.escalation) learnEscalation();
}

// After a reload the answer to `connect` may not repeat the hand-over; the conversation knows it.
async function learnEscalation() {
  try {
    const detail = await api("GET", conversationPath());
    state.escalation ??= detail.escalation ?? { case_number: detail.salesforce_case };
    showStatus();
  } catch { /* the strip shows what is known; events bring the rest */ }
}

function presence() {
  if (state.owner === "human") return ["human", "presenceHuman"];
  if (state.status === "escalated") return ["waiting", "presenceWait"];
  return isOver() ? ["done", "presenceDone"] : ["ai", "presenceAi"];
}

const isOver = () => state.status === "resolved" || state.status === "abandoned";

function showStatus() {
  const [kind, words] = presence();
  document.body.dataset.presence = kind;
  reveal($("presence-text"), say(words));
  $("person-button").hidden = kind !== "ai" || input.disabled;
  $("closed").hidden = !isOver();
  $("rating").hidden = state.status !== "resolved" || !conversation || Boolean(conversation.rated);
  showCase(kind);
}

function showCase(kind) {
  const { queue_name: queue, case_number: number, sla_deadline: deadline } = state.escalation ?? {};
  const parts = [];
  if (kind === "waiting") {
    const late = !deadline || new Date(deadline) < new Date();
    parts.push(make("strong", "", late ? say("answerSoon") : say("answerBy", { time: when(deadline) })));
    if (queue) parts.push(make("span", "", `${say("queue")}: ${queue}`));
  }
  if (number && (kind === "waiting" || kind === "human")) parts.push(make("span", "", `${say("caseNumber")}: ${number}`));
  $("case").hidden = parts.length === 0;
  if ($("case").textContent !== parts.map((part) => part.textContent).join("")) $("case").replaceChildren(...parts);
}

// ---------------------------------------------------------------- a person, an end, a rating
function talkToPerson() {
  if (PERSON_TEXT[lang]) send(PERSON_TEXT[lang]);
  else if (link.ready) askForPerson();
  else { state.wantsPerson = true; connect(); }
  input.focus();
}

async function askForPerson() {
  state.wantsPerson = false;
  try { await api("POST", conversationPath("/escalate"), {}); } catch (error) { flash(error.message); }
}

function startAnew() {
  emit("disconnect", {});
  hangUp();
  outbox.length = 0;
  saveOutbox();
  dropConversation();
  $("welcome").hidden = false;
  input.focus();
}

function buildStars() {
  for (let n = 1; n <= 5; n += 1) {
    const star = Object.assign(make("input"), { type: "radio", name: "score", value: n, id: `star-${n}` });
    const label = make("label", "", make("span", "unseen", say("star", { n: number.format(n) })));
    label.htmlFor = star.id;
    $("stars").append(star, label);
  }
}

async function rate(event) {
  event.preventDefault();
  const score = Number(new FormData($("rating")).get("score"));
  if (!score) return reveal($("rating-error"), say("rateFirst"));
  const comment = $("rating-comment").value.trim();
  $("rating-send").disabled = true;
  try {
    await api("POST", conversationPath("/rating"), comment ? { score, comment } : { score });
    conversation.rated = true;
    saveConversation();
    $("rating").reset();
    reveal($("rating-error"), "");
    reveal($("thanks"), say("thanks"));
    showStatus();
    input.focus();
  } catch (error) {
    reveal($("rating-error"), error instanceof Problem ? error.message : say("trouble"));
  }
  $("rating-send").disabled = false;
}

// ---------------------------------------------------------------- composer
function submit(event) {
  event?.preventDefault();
  if (input.disabled || !send(input.value)) return;
  input.value = "";
  onInput();
  tellTyping(false);
  input.focus();
}

function onKey(event) {
  // Enter also ends a composition (Japanese, Chinese, …); that one must not send. 229 is how Safari says so.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  submit(event);
}

function onInput() {
  const length = [...input.value.trim()].length;
  const over = length - MAX_LENGTH;
  input.setAttribute("aria-invalid", String(over > 0));
  $("counter").textContent = over > 0 ? say("tooLong", { n: number.format(over) })
    : over > -500 ? `${number.format(length)} / ${number.format(MAX_LENGTH)}` : "";
  $("composer").classList.toggle("empty", length === 0);
  input.dir = length ? "auto" : document.documentElement.dir; // an empty field says nothing about direction
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

const typing = { told: 0, timer: 0 };

function tellTyping(on) {
  clearTimeout(typing.timer);
  if (on) typing.timer = setTimeout(() => tellTyping(false), 5000);
  if (!link.ready || (on ? Date.now() - typing.told < 3000 : !typing.told)) return;
  typing.told = on ? Date.now() : 0;
  emit("typing", { conversation_id: conversation.id, typing: on });
}

// ---------------------------------------------------------------- start
async function loadConfig() {
  const response = await fetch("/chat/config", { headers: { accept: "application/json" } });
  if (response.status >= 500) throw new Problem(response.status, null);
  const config = response.ok ? await response.json() : {};
  state.organization = config.organization?.name ?? "";
  state.guests = config.guests ?? true;
  showName();
}

function showName() {
  const name = state.organization || say("support");
  $("org-name").textContent = name;
  $("logo").textContent = [...name][0]?.toUpperCase() ?? "";
  showTitle();
}

async function loadHistory() {
  $("log").setAttribute("aria-busy", "true"); // a reload must not read the whole conversation aloud
  try {
    for (let cursor = ""; cursor !== null;) {
      const tail = cursor && `&cursor=${encodeURIComponent(cursor)}`;
      const page = await api("GET", conversationPath(`/messages?limit=200${tail}`));
      for (const message of page.items) addMessage(message, { live: false });
      cursor = page.next_cursor || null;
    }
  } catch (error) {
    if (!(error instanceof Problem) || !isGone(error)) throw error;
    dropConversation();
  } finally {
    $("log").removeAttribute("aria-busy");
  }
}

async function start() {
  try {
    await loadConfig();
    if (!auth.linked && !state.guests) throw new SignedOut("noGuests");
    if (conversation) await loadHistory();
    state.started = true;
    link.attempts = 0;
    clearTimeout(link.bannerTimer);
    showBanner("");
    connect();
  } catch (error) {
    trouble(error, start);
  }
}

function onNewToken() {
  if (!takeTokenFromLink()) return;
  hangUp();
  setUsable(true);
  if (state.started) hurry(); else start();
}

// The widget gives its frame the focus on opening; whoever opens a chat wants to write.
function onFocus() {
  hurry();
  if (window.parent !== window && document.activeElement === document.body) input.focus();
}

function onEscape(event) {
  if (event.key === "Escape" && window.parent !== window) window.parent.postMessage({ switchboard: "close" }, "*");
}

function listen() {
  $("composer").addEventListener("submit", submit);
  input.addEventListener("keydown", onKey);
  input.addEventListener("input", () => { onInput(); tellTyping(input.value !== ""); });
  $("person-button").addEventListener("click", talkToPerson);
  $("new-button").addEventListener("click", startAnew);
  $("rating").addEventListener("submit", rate);
  $("stars").addEventListener("change", () => reveal($("rating-error"), ""));
  $("jump").addEventListener("click", () => { toEnd(); input.focus(); });
  scroller.addEventListener("scroll", onScroll, { passive: true });
  const resizes = new ResizeObserver(onResize);
  resizes.observe(scroller);
  resizes.observe(scroller.firstElementChild);
  document.addEventListener("keydown", onEscape);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") { markRead(); hurry(); } });
  window.addEventListener("online", hurry);
  window.addEventListener("offline", () => showBanner(say("offline")));
  window.addEventListener("focus", onFocus);
  window.addEventListener("hashchange", onNewToken);
}

translatePage();
$("draft").dataset.who = say("assistant");
buildStars();
takeTokenFromLink();
listen();
showName();
showStatus();
onInput();
outbox.forEach(showPending); // what a reload caught unsent
if (matchMedia("(pointer: fine)").matches) input.focus();
start();
