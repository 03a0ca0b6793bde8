"""Rules of `prompt_injection` for one family of attacks in several languages each."""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_DE_OLD = r"(?:vorherigen|bisherigen|vorangegangenen|obigen|fr(?:ü|ue)heren|vorigen|vorstehenden|urspr(?:ü|ue)nglichen)"
_DE_RULES = r"(?:anweisungen|instruktionen|regeln|vorgaben|befehle|richtlinien)"
_LIMITS = r"(?:content polic(?:y|ies)|rules|restrictions|filters?|guidelines|limits|limitations|ethics|censorship)"
_ZH_RULES = r"(?:规则|規則|规定|規定|限制|指令|指示|准则|準則|审查|審查|过滤|過濾)"
_ZH_SAFETY = r"安全(?:准则|準則|规则|規則|限制|指南|策略|规范|規範)"
# Not every 要: "不要" forbids it.
_ZH_NOW = (
    r"(?:\A|[\s。！？!?.,，、：:；;「“\"]|请|請|现在|現在|并|並|立即|必须|必須|[你您](?:现在|現在|必须|必須|要)?"
    r"|地|且|来|來)"
)

FAMILY_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "developer-mode-and",
        "mode",
        r"\bactiva(?:r)? (?:el )?modo (?:de )?desarrollador[^\n.]{0,20} (?:e|y) "
        r"(?:ignor|olvid|s[áa]lta|desactiv)[a-zà-ž]* (?:[a-zà-ž]+ ){0,3}"
        r"(?:reglas|instrucciones|normas|directrices|restricciones|l[íi]mites|filtros)\b"
        r"|\bactive[rz]? (?:le )?mode d[ée]veloppeur[^\n.]{0,20} et (?:ignor|oubli|contourn|d[ée]sactiv)[a-zà-ž]* "
        r"(?:[a-zà-ž]+ ){0,3}(?:r[èe]gles|instructions|consignes|directives|restrictions|limites|filtres)\b"
        r"|\battiva(?:re)? (?:la )?modalit[àa] sviluppatore[^\n.]{0,20} e (?:ignor|dimentic|aggir|disattiv)[a-zà-ž]* "
        r"(?:[a-zà-ž]+ ){0,3}(?:regole|istruzioni|direttive|restrizioni|limiti|filtri)\b"
        r"|\bativ(?:e|ar) (?:o )?modo (?:de |do )?desenvolvedor[^\n.]{0,20} e "
        r"(?:ignor|esque|desconsider|desativ)[a-zà-ž]* (?:[a-zà-ž]+ ){0,3}"
        r"(?:regras|instru[cç][õo]es|diretrizes|restri[cç][õo]es|limites|filtros)\b"
        r"|\baktivier[a-z]* (?:den |deinen )?entwicklermodus[^\n.]{0,20} und (?:ignorier|missacht|umgeh|vergiss)[a-z]* "
        rf"(?:[a-zà-ž]+ ){{0,3}}[a-zà-ž]*(?:{_DE_RULES}|filter|(?:ein|be)schr(?:ä|ae)nkungen)\b"
        r"|開発者モード[^\n。]{0,10}(?:規則|ルール|制限|制約|ガイドライン|指示)を(?:すべて|全て)?無視"
        r"|(?:启用|啟用|启动|打开|開啟|进入|進入|激活)(?:开发者|開發者|开发人员)模式[^\n。]{0,6}(?:忽略|无视|無視|绕过|繞過)"
        rf"(?:所有|全部|一切|任何|你的|您的|的){{0,3}}{_ZH_RULES}",
    ),
    InjectionRule(
        "repeat-all-above",
        "reveal",
        r"\br[ée]p[èe]te[rz]? (?:mot pour mot )?tout ce qui (?:se trouve|est|figure)[^\n.]{0,12}"
        r"(?:au-dessus|ci-dessus|plus haut|avant)"
        r"|\bripeti (?:parola per parola )?tutto (?:ci[òo]|quello) che (?:si trova|[èe]|sta|c['’][èe]) (?:qui )?sopra"
        r"|\bwiederhol[a-z]* (?:bitte )?alles,? was (?:(?:ü|ue)ber|vor|oberhalb) (?:dieser|diesem|von dieser) "
        r"(?:z[e3][i1l]{2}[e3]|nachricht|satz|text|absatz|stelle|eingabe|frage|anweisung|unterhaltung|linie)"
        r"|(?:この行|この文|ここ)より(?:上|前)の?(?:内容|文章|テキスト|すべて|文)[^\n。]{0,10}(?:繰り返|出力|表示|コピー)"
        r"|(?:重复|重複|复述|複述|输出|輸出|打印)[^\n。]{0,4}(?:这|這|此)一?行(?:以上|之上|上面|之前)的?(?:所有|全部|一切)?"
        r"(?:内容|內容|文字|文本)",
    ),
    InjectionRule(
        "past-your-safety",
        "override",
        r"\bsetz(?:e|t)? dich (?:jetzt |bitte |einfach )?(?:ü|ue)ber (?:alle )?deine [a-zà-ž]*"
        r"(?:regeln|richtlinien|vorgaben|einschr(?:ä|ae)nkungen) hinweg"
        r"|\bs[áa]ltate (?:todas )?tus (?:normas|reglas|restricciones|pol[íi]ticas|filtros)"
        r"|\b(?:aggira|elud[ie]|viola) (?:tutte )?le tue (?:regole|restrizioni|linee guida|norme)"
        r"|\b(?:contorne|burle|viole) (?:todas )?(?:as )?suas (?:regras|restri[cç][õo]es|diretrizes|normas)"
        r"|安全(?:ガイドライン|規則|ルール|基準|指針)を(?:すべて|全て)?無視して、?"
        r"(?:答え|回答|返答|返事|教え|出力|書いて|説明|ください|下さい|くれ|[。！!]|\z)"
        rf"|(?:无视|無視|忽略|绕过|繞過)(?:[你您]的?(?:所有|全部|一切)?的?{_ZH_SAFETY}"
        rf"|(?:所有|全部|一切)?的?{_ZH_SAFETY}[，,]?(?:并|並|来|來|直接)?(?:回答|回复|回覆|告诉我|告訴我|输出|輸出|给我|給我|写出|寫出))",
    ),
    InjectionRule(
        "above-and-instead",
        "override",
        r"\b(?:ignore|disregard|forget) (?:(?:all|everything) )?(?:of )?(?:the )?above,? (?:and |but )?"
        r"(?:instead|just|only|simply|then),? (?:say|print|output|respond|reply|answer|write|tell|translate)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "befolge-nicht",
        "override",
        rf"\b(?:befolg[a-z]*|beacht[a-z]*|folg[a-z]*) (?:bitte )?(?:die|den|alle|deine) {_DE_OLD} {_DE_RULES} "
        r"(?:ab jetzt |ab sofort )?nicht\b"
        rf"|\bl(?:ö|oe)sche? (?:bitte )?(?:alle )?deine (?:{_DE_OLD} )?{_DE_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ai-without-limits",
        "persona",
        r"\byou(?:'re| are) (?:now )?(?:an? )?(?:\w+ )?(?:ai|assistant|chatbot|language model) "
        rf"(?:with(?:out)?|that has) (?:no|any|zero) (?:content |ethical |moral |safety )?{_LIMITS}\b"
        r"|\byou (?:must|will|shall) (?:(?:now|always|also|obey|me|and|help|agree|to|be|able|fully|simply|just"
        r"|\w{1,2}) ){0,4}(?:bypass|ignore) (?:all )?(?:of )?(?:your )?"
        r"(?:restrictions|content filters?|safety (?:rules|guidelines|filters?|protocols?|measures|polic(?:y|ies)))\b"
        r"|\bfais semblant d['’][êe]tre une (?:ia|intelligence artificielle) sans "
        r"(?:aucune? )?(?:limite|restriction|r[èe]gle|filtre|censure)"
        r"|\btu so,? als h(?:ä|ae)ttest du keine(?:rlei)? "
        r"(?:(?:ein|be)schr(?:ä|ae)nkungen|filter|regeln)",
    ),
    InjectionRule(
        "your-system-message",
        "reveal",
        r"\b(?:print|show|output|reveal|display|dump) (?:me )?(?:all )?(?:of )?your (?:\w+,? (?:and )?){0,2}"
        r"system[ -](?:message|prompt)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "fake-order",
        "template",
        r"(?m:^\s*system\s*:\s*)(?:new|updated|changed) instructions?\s*:"
        r"|(?m:^\s*#{2,6}\s*instructions?\s*:?\s*)(?:ignore|disregard|bypass|forget) "
        r"(?:(?:the|all|any|your) ){0,2}(?:safety|previous|prior|content|ethic)",
    ),
    InjectionRule(
        "zh-forget-told",
        "override",
        r"(?:忘记|忘記|忘掉)(?:掉)?(?:我|他们)?(?:之前|以前|此前|先前)(?:告诉|告訴|教)(?:给|給)?(?:你|您)(?:过|過)?的"
        r"(?:一切|所有|全部|内容|內容)"
        r"|(?:透露|显示|顯示|告诉我|告訴我|输出|輸出|公开|公開|说出|說出)(?:出)?(?:你|您)(?:的)?(?:所有|全部)?(?:的)?"
        r"(?:隐藏|隱藏|内部|內部|初始|原始|秘密)的?(?:指令|提示词|提示詞|提示|规则|規則)"
        rf"|{_ZH_NOW}(?:忽略|无视|無視|忘记|忘記|忘掉)(?:所有|全部|一切)(?:的)?(?:指令|指示|命令|规则|規則|提示词|限制|要求|规定|規定)",
    ),
    InjectionRule(
        "it-di-cui-sopra",
        "override",
        r"\b(?:ignora(?:te|re)?|trascura(?:te|re)?|dimentica(?:te|re)?) (?:(?:tutte|tutti|le|gli|i) ){0,2}"
        r"(?:istruzioni|indicazioni|regole|direttive|comandi|ordini) di cui sopra\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "rules-no-longer",
        "override",
        r"\btes (?:anciennes |pr[ée]c[ée]dentes )?(?:r[èe]gles|instructions|consignes|directives|restrictions)"
        r"(?: pr[ée]c[ée]dentes| initiales)? ne s['’]appliquent plus"
        r"|\btus (?:reglas|instrucciones|normas|directrices|restricciones)(?: anteriores| previas)? (?:ya )?no "
        r"(?:se aplican|valen|aplican)"
        r"|\ble tue (?:regole|istruzioni|direttive|restrizioni)(?: precedenti)? non "
        r"(?:valgono|si applicano|sono valide) pi[ùu]"
        r"|\bsuas (?:regras|instru[cç][õo]es|diretrizes|restri[cç][õo]es)(?: anteriores)? n[ãa]o "
        r"(?:se aplicam|valem) mais"
        r"|あなたの(?:以前の|これまでの|元の|すべての)?(?:ルール|規則|指示|制限|制約)は(?:もう|もはや)?"
        r"(?:適用され(?:ません|ない)|無効|ありません)"
        r"|(?:你|您)(?:之前|以前|原来|原來|先前)?的?(?:所有)?(?:规则|規則|指令|限制|准则|準則)(?:已经|已經|已|现在|現在)?"
        r"(?:不再适用|不再適用)"
        r"|(?:你|您)(?:之前|以前|原来|原來|先前)的?(?:所有)?(?:规则|規則|限制|准则|準則)(?:已经|已經|已|现在|現在|全部)?"
        r"(?:失效|无效|無效|作废|作廢)",
    ),
    InjectionRule(
        "text-of-prompt",
        "reveal",
        r"\b(?:exact|full|complete|verbatim|entire|whole) (?:wording|text|contents?) of your "
        r"(?:(?:system )?(?:prompt|instructions)|system message)\b"
        r"|\bwhat (?:is|was|were) the (?:text|prompt|instructions?|messages?) (?:that )?you (?:were|have been"
        r"|had been) given "
        r"(?:before|at the (?:start|beginning))"
        r"|\b(?:vollst(?:ä|ae)ndigen|genauen|exakten|kompletten|ganzen) (?:text|wortlaut|inhalt) deine[rs] "
        r"(?:(?:system[ -]?)?(?:anweisung(?:en)?|prompts?|instruktionen)|system[ -]?nachricht)\b"
        r"|\b(?:texte|contenu) (?:exact|complet|int[ée]gral) de "
        r"(?:tes instructions|(?:ton|votre) (?:prompt|message syst[èe]me))\b"
        r"|\b(?:texto|contenido) (?:exacto|completo|[íi]ntegro|literal) de "
        r"(?:tus instrucciones|(?:tu|su) (?:prompt|mensaje del? sistema))\b"
        r"|\b(?:testo|contenuto) (?:esatto|completo|integrale) (?:del|delle) (?:tuo|tue) "
        r"(?:prompt|messaggio di sistema|istruzioni)\b"
        r"|\b(?:texto|conte[úu]do) (?:exato|completo|integral) d(?:o|as) (?:seu|teu|suas|tuas) "
        r"(?:prompt|mensagem d[eo] sistema|instru[cç][õo]es)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "safety-filters-off",
        "override",
        r"\b(?:umgeh[a-z]*|deaktivier[a-z]*|ignorier[a-z]*) (?:bitte )?(?:alle )?deine[a-z]* "
        r"(?:sicherheits|inhalts|moral|ethik)[a-zà-ž-]*(?:filter|regeln|richtlinien|vorgaben|mechanismen)"
        r"|\b(?:disattiva|disabilita|spegni|ignora|aggira) (?:tutti )?i tuoi filtri"
        r"(?: d ?i (?:sicurezza|contenuto|moderazione)| etici| e |[.!,;:\n]|\z)"
        r"|\b(?:desative|desligue|ignore|contorne) (?:todos )?(?:os )?seus filtros"
        r"(?: d ?[e3] (?:seguran[cç]a|conte[úu]do|modera[cç][ãa]o)| [ée]ticos| e |[.!,;:\n]|\z)"
        r"|(?:あなたの(?:コンテンツ)?|安全|倫理)フィルター?を(?:無効|オフ|解除|無視)"
        r"|(?:关闭|關閉|禁用|绕过|繞過|解除|取消)(?:你|您)的?(?:安全|内容|內容|道德|审查|審查)(?:过滤器?|過濾器?|机制|機制|限制|审查|審查)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "as-one-without-limits",
        "persona",
        r"(?:像|作为|作為|以|当作|當作)(?:一个|一個)?(?:没有|沒有|不受|无|無)(?:任何)?(?:审查|審查|限制|约束|約束|过滤|過濾|道德)"
        r"(?:限制|约束)?的?(?:AI|人工智能|人工智慧|助手|模型|机器人)"
        r"|\bantworte (?:mir )?(?:ab (?:jetzt|sofort) |nun )?ohne (?:jegliche |moralische |ethische |inhaltliche ){1,2}"
        r"(?:grenzen|(?:ein|be)schr(?:ä|ae)nkungen|regeln|filter|bedenken)"
        r"|\b(?:simulate|pretend to be|role-?play as|play|imagine|become) (?:an? )?(?:\w+ )?"
        r"(?:(?:ai|chatbot|language model)\b[^.\n]{0,30}|assistant)"
        rf" (?:that|who|which|with) (?:has |have )?(?:no|without) (?:moral |ethical |content "
        rf"|safety )?{_LIMITS}"
        rf"|\bact as if you (?:had|have) no (?:content |safety |ethical |moral )?{_LIMITS}"
        r"|\byou have been jailbroken\b"
        r"|\bonce (?:normally|as (?:chatgpt|yourself|gpt|usual))[^.\n]{0,30} once as (?:dan\b|an? un)"
        rf"|\bnew rule\s*:\s*you have no {_LIMITS}",
    ),
    InjectionRule(
        "never-were",
        "override",
        r"\bpretend (?:that )?(?:the |all |your )?(?:previous|prior|earlier|above) (?:instructions|rules|prompts?) "
        r"(?:never|do not|don['’]t|did not|didn['’]t) "
        r"|\bnever mind (?:your|all|the previous|the above|any) (?:previous |prior )?(?:instructions|rules"
        r"|guidelines)\b"
        r"|\bdisregard the user['’]?s (?:question|request|message|query|input)\b"
        r"|\b(?:begin|start) your (?:answer|response|reply) with [\"'“]?(?:sure,? )?(?:here is"
        r"|here['’]s) my (?:system )?"
        r"(?:prompt|instructions)\b"
        r"|\bassistant\s*:\s*(?:ignore|disregard|forget) (?:the|this|your) (?:task|user|question|instructions"
        r"|request)\b"
        r"|\bignorier[a-z]* (?:bitte )?(?:alle|s(?:ä|ae)mtliche|die) (?:zuvor|vorher|bisher|vorhin) "
        rf"(?:gegebenen|erhaltenen|erteilten|genannten) {_DE_RULES}\b"
        r"|(?:\A|[。\n！!])(?:全ての|すべての|全部の)?指示を(?:すべて|全て)?無視して",
        HarmlessPlace.OBJECT,
    ),
)
