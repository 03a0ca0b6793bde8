"""Rules of `prompt_injection` in French, Spanish, Italian, Portuguese, Japanese and Chinese.

For each language: to ignore earlier instructions, to tell the prompt, and to be without rules.
"""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_OBJECT = HarmlessPlace.OBJECT

_FRENCH: tuple[InjectionRule, ...] = (
    InjectionRule(
        "fr-ignore",
        "override",
        r"\b(?:ignore[rz]?|oublie[rz]?|n[ée]glige[rz]?|ne (?:tiens|tenez) (?:pas|plus) compte"
        r" (?:de|des)|ne (?:suis|suivez) (?:pas|plus)"
        r"|fais abstraction (?:de|des)|faites abstraction (?:de|des)|fais fi (?:de"
        r"|des)|passe outre) (?:(?:toutes?|tous|les|tes|vos|ces|de|des|le|la|l) |l['’]){0,4}"
        r"(?:(?:pr[ée]c[ée]dent\w*|ancien\w*) )?(?:instructions?|consignes?|directives?"
        r"|r[èe]gles?|ordres?|messages?|invites?)"
        r" (?:pr[ée]c[ée]dent\w*|ant[ée]rieur\w*|ci-dessus|initiale?s?|(?:qui )?pr[ée]c[èe]dent"
        r"|(?:du )?syst[èe]me|(?:qui )?(?:t['’]ont|vous ont) [ée]t[ée] donn[ée]\w*"
        r"|re[çc]u\w*|(?:que )?(?:tu as|vous avez) re[çc]u\w*)",
        _OBJECT,
    ),
    InjectionRule(
        "fr-ignore-tes",
        "override",
        r"\b(?:ignore|oublie|contourne|d[ée]sactive) (?:toutes )?tes (?:propres )?(?:instructions"
        r"|consignes|directives|r[èe]gles|restrictions|limites|filtres)\b"
        r"|\boublie tout ce (?:que|qu['’]on) (?:(?:tu|l['’]on|je) )?(?:as appris|t['’]a dit"
        r"|t['’]ai dit|t['’]a appris)",
        _OBJECT,
    ),
    InjectionRule(
        "fr-reveal",
        "reveal",
        r"\b(?:montre|affiche|r[ée]v[èe]le|donne|r[ée]p[èe]te|imprime|divulgue|[ée]cris"
        r"|dis|quel(?:le)?s? (?:est|sont|[ée]taient))(?:[- ](?:moi|nous))? (?:(?:l['’]int[ée]gralit[ée]"
        r" de|le texte de|mot pour mot|exactement|tout) )?"
        r"(?:ton|ta|tes|votre|vos|le|les) (?:(?:propre|premier|premi[èe]re)s? )?(?:prompt"
        r"|message|invite|instructions?|consignes?|directives?) (?:(?:du |de )?syst[èe]me"
        r"|initial\w*|cach[ée]\w*|secr[èe]t\w*|interne\w*|de d[ée]part|d['’]origine)",
        _OBJECT,
    ),
    InjectionRule(
        "fr-persona",
        "persona",
        r"\b(?:tu es|vous [êe]tes|agis comme|fais comme si tu [ée]tais|comporte-toi comme) (?:"
        r"(?:d[ée]sormais|maintenant|[àa] partir de maintenant) )?(?:dan\b|(?:une (?:ia"
        r"|intelligence artificielle)|un (?:assistant|chatbot|mod[èe]le)) "
        r"(?:sans (?:aucune? |la moindre )?(?:restriction|limite|filtre|r[èe]gle|censure"
        r"|morale)|non censur[ée]|libre de toute))",
    ),
)

_SPANISH: tuple[InjectionRule, ...] = (
    InjectionRule(
        "es-ignore",
        "override",
        r"\b(?:ignor(?:a|e|ad|en|ar)|olv[ií]d(?:a|e|ad|ate de|ar)|haz caso omiso de"
        r"|descart(?:a|e)|pasa por alto|omite|no (?:sigas|siga|hagas caso (?:de|a)"
        r"|tengas en cuenta)) (?:(?:de|a|todas?|todos?|las|los|tus|sus|esas|estas"
        r"|cualquier) ){0,4}"
        r"(?:(?:anteriores|previas) )?(?:instrucciones|indicaciones|reglas|[óo]rdenes"
        r"|directrices|directivas|mensajes)"
        r" (?:anterior\w*|previ[ao]s?|de arriba|iniciales|(?:del |de )?sistema|precedentes"
        r"|(?:que )?(?:te|has|hayas|le|se te) (?:\w+ ){0,2}(?:dado|dieron|recibido"
        r"|dijeron|dije))",
        _OBJECT,
    ),
    InjectionRule(
        "es-ignore-tus",
        "override",
        r"\b(?:ignora|olvida|desactiva|salta) (?:todas )?tus (?:propias )?(?:instrucciones"
        r"|indicaciones|reglas|directrices|restricciones|limitaciones|filtros)\b|\bolvida todo"
        r" lo (?:que (?:te (?:han dicho|dijeron|dije)|sabes|has aprendido)|anterior)",
        _OBJECT,
    ),
    InjectionRule(
        "es-reveal",
        "reveal",
        r"\b(?:mu[ée]stra(?:me|nos)?|revela(?:me)?|di(?:me)?|dame|repite|imprime|escribe"
        r"|ens[ée][ñn]ame|divulga|cu[áa]l(?:es)? (?:es|son|eran)) (?:(?:todo|exactamente"
        r"|el texto de|palabra por palabra) )?(?:tus?|el|las|sus?) "
        r"(?:prompt|mensaje|instrucci[óo]n|instrucciones|indicaciones|directrices) (?:(?:del"
        r" |de )?sistema|inicial\w*|ocult[ao]s?|secret[ao]s?|intern[ao]s?|original\w*)",
        _OBJECT,
    ),
    InjectionRule(
        "es-persona",
        "persona",
        r"\b(?:eres|act[úu]a como|comp[óo]rtate como|finge ser|a partir de ahora eres) (?:(?:ahora"
        r"|desde ahora) )?(?:dan\b|(?:una? (?:ia|inteligencia artificial|asistente"
        r"|chatbot|modelo)) (?:sin (?:ninguna? |ning[úu]n )?(?:restricci|l[íi]mite"
        r"|filtro|regla|censura|[ée]tica)|libre de))",
    ),
)

_ITALIAN: tuple[InjectionRule, ...] = (
    InjectionRule(
        "it-ignore",
        "override",
        r"\b(?:ignor(?:a|ate|are|i)|dimentica(?:te|re)?|trascura(?:te)?|tralascia"
        r"|non (?:seguire|considerare|tenere conto (?:di|delle))) (?:(?:di|tutte?"
        r"|tutti|le|gli|i|tue|tuoi|queste|quelle|ogni) ){0,4}"
        r"(?:(?:precedenti|istruzioni|indicazioni|regole|direttive|comandi|ordini"
        r"|messaggi) ?){1,2}(?:precedent\w*|anterior\w*|inizial\w*|(?:qui )?sopra"
        r"|(?:di |del )?sistema|(?:che (?:hai|ti) )?(?:ricevut\w*|(?:sono state )?dat\w*)"
        r"|ricevute)",
        _OBJECT,
    ),
    InjectionRule(
        "it-ignore-precedenti",
        "override",
        r"\b(?:ignora(?:te|re)?|dimentica(?:te|re)?) (?:(?:tutte|tutti|le|gli|i) ){0,3}precedenti"
        r" (?:istruzioni|indicazioni|regole|direttive|comandi|ordini)\b"
        r"|\b(?:ignora|dimentica|disattiva) (?:tutte )?le tue (?:istruzioni|regole"
        r"|direttive|restrizioni|limitazioni)\b|\bdimentica tutto (?:quello|ci[òo]) che (?:ti"
        r"|sai|hai)",
        _OBJECT,
    ),
    InjectionRule(
        "it-reveal",
        "reveal",
        r"\b(?:mostra(?:mi|ci)?|rivela(?:mi)?|dimmi|dammi|ripeti|stampa|scrivi|divulga"
        r"|qual [èe]|quali (?:sono|erano)) (?:(?:tutto|esattamente|il testo del|parola per parola)"
        r" )?(?:il|le|la|i) (?:tu[oae]i? )?(?:prompt|messaggio|istruzioni|direttive"
        r"|indicazioni) "
        r"(?:(?:di |del )?sistema|inizial\w*|nascost\w*|segret\w*|intern\w*|original\w*)",
        _OBJECT,
    ),
    InjectionRule(
        "it-persona",
        "persona",
        r"\b(?:(?:ora )?sei|agisci come|comportati come|fingi di essere|da (?:ora"
        r"|adesso) sei) (?:(?:ora|adesso) )?(?:dan\b|(?:un(?:a|['’])? ?(?:ia|intelligenza artificiale"
        r"|assistente|chatbot|modello)) (?:senza (?:alcuna? |nessuna? )?(?:restrizion"
        r"|limit|filtr|regol|censur|etic)|priv[ao] di|liber[ao] da))",
    ),
)

_PORTUGUESE: tuple[InjectionRule, ...] = (
    InjectionRule(
        "pt-ignore",
        "override",
        r"\b(?:ignor(?:e|a|em|ar)|esque[cç](?:a|e|er|am)|desconsider(?:e|a|ar)|n[ãa]o (?:siga"
        r"|sigas|obede[çc]a)|descart(?:e|a)) (?:(?:de|d?as|d?os|todas?|todos?|suas"
        r"|seus|tuas|essas|estas|quaisquer) ){0,4}(?:(?:anteriores) )?"
        r"(?:instru[cç][õo]es|orienta[cç][õo]es|regras|diretrizes|ordens|comandos"
        r"|mensagens) (?:anterior\w*|pr[ée]vi[ao]s|acima|iniciais|(?:do |de )?sistema"
        r"|(?:que )?(?:voc[êe] )?(?:recebeu|recebidas|foram dadas|te deram|lhe foram))",
        _OBJECT,
    ),
    InjectionRule(
        "pt-ignore-suas",
        "override",
        r"\b(?:ignore|esque[çc]a|desative|desconsidere) (?:todas )?(?:as )?suas (?:pr[óo]prias"
        r" )?(?:instru[cç][õo]es|regras|diretrizes|restri[cç][õo]es|limita[cç][õo]es)\b"
        r"|\besque[çc]a tudo (?:o )?que (?:te|lhe|eu|voc[êe])",
        _OBJECT,
    ),
    InjectionRule(
        "pt-reveal",
        "reveal",
        r"\b(?:mostr[ea](?:-me)?|revel[ea](?:-me)?|me (?:mostre|diga|d[êe])|diga(?:-me)?"
        r"|repita|imprima|escreva|divulgue|exiba|qua(?:l|is) (?:[ée]|s[ãa]o|eram)) (?:(?:todo"
        r"|exatamente|o texto d[oe]|palavra por palavra) )?(?:o|as|os|a) (?:(?:seus?"
        r"|suas?|teus?|tuas?) )?"
        r"(?:prompt|mensagem|instru[cç][õo]es|diretrizes|orienta[cç][õo]es) (?:(?:do "
        r"|de )?sistema|inicia\w+|ocult[ao]s?|secret[ao]s?|intern[ao]s?|origina\w+)",
        _OBJECT,
    ),
    InjectionRule(
        "pt-persona",
        "persona",
        r"\b(?:voc[êe] (?:agora )?[ée]|tu [ée]s|aja como|comporte-se como|finja ser"
        r"|a partir de agora voc[êe] [ée]) (?:agora )?(?:(?:o )?dan\b|(?:uma? (?:ia"
        r"|intelig[êe]ncia artificial|assistente|chatbot|modelo)) (?:sem (?:nenhuma? "
        r"|quaisquer |qualquer )?(?:restri|limit|filtro|regra|censura|[ée]tica)|livre de))",
    ),
)

_JA_OLD = r"(?:これまで|今まで|いままで|以前|前|上記|上|先ほど|さきほど|既存|最初|元|システム|与えられた|受けた|あなた)"
_JA_RULES = r"(?:指示|命令|ルール|規則|プロンプト|制約|設定|ガイドライン|指令|制限)"
_JAPANESE: tuple[InjectionRule, ...] = (
    InjectionRule(
        "ja-ignore",
        "override",
        rf"{_JA_OLD}(?:に(?:与え|受け|出さ)[^\n。]{{0,6}})?(?:の)?(?:すべて|全て|全部|あらゆる)?(?:の)?(?:[^\n。、]{{0,4}}の)?{_JA_RULES}"
        r"(?:を|は|に(?:は)?)?(?:すべて|全て|全部|完全に|一切|従わ)?(?:無視|忘れ|破棄|無効|従わない|取り消|リセット)"
        rf"|(?:すべて|全て|全部)の{_JA_RULES}を(?:無視|忘れ|破棄)",
    ),
    InjectionRule(
        "ja-reveal",
        "reveal",
        r"(?:システムプロンプト|システムメッセージ|初期(?:プロンプト|指示|設定)|最初の(?:指示|プロンプト)|隠された(?:指示|プロンプト)"
        r"|内部(?:の)?(?:指示|プロンプト)|あなたへの指示)(?:の(?:全文|内容|すべて|全て))?(?:を|は)(?:そのまま|すべて|全て"
        r"|全部|一字一句)?[^\n。]{0,8}?"
        r"(?:表示|見せ|教え|出力|開示|公開|繰り返|書き出|明かし|暴露|何ですか)",
    ),
    InjectionRule(
        "ja-persona",
        "persona",
        r"(?:(?:制限|制約|ルール|フィルター?|倫理|検閲)(?:の|が|も)?(?:一切)?(?:ない|なし(?:の)?|無い|持たない)(?:[^\n。]{0,6})?"
        r"(?:AI|人工知能|アシスタント|モデル|チャットボット)|(?:今|これ)から(?:あなたは|お前は)?DAN)",
    ),
)

_ZH_RULES = (
    r"(?:指令|指示|命令|规则|規則|提示词|提示詞|提示|设定|設定|限制|约束|約束|指引|准则|準則|系统提示|系統提示|要求)"
)
_ZH_OLD = r"(?:以上|之前|先前|前面|上面|此前|上述|原有|原来|原來|最初|初始|系统|系統|既有|前述)"
_CHINESE: tuple[InjectionRule, ...] = (
    InjectionRule(
        "zh-ignore",
        "override",
        r"(?:忽略|无视|無視|忘记|忘記|忘掉|不要理会|不要理會|不要遵守|不要遵循|不理会|抛弃|拋棄|丢弃|绕过|繞過)(?:掉|你|您|的|了"
        rf"|所有|全部|一切|任何|我|给|給|过|過|这些|這些|那些|所){{0,6}}"
        rf"(?:{_ZH_OLD}|你的|您的|你收到|你被)(?:的|所有|全部|一切|任何|给|給|你|您|我|过|過|到|所|说|說|有|安全|内容|內容){{0,8}}{_ZH_RULES}"
        rf"|(?:忽略|无视|無視|忘记|忘記|忘掉)(?:所有|全部|一切)(?:的)?{_ZH_RULES}",
    ),
    InjectionRule(
        "zh-reveal",
        "reveal",
        r"(?:显示|顯示|告诉我|告訴我|输出|輸出|打印|列印|重复|重複|复述|複述|展示|泄露|洩露|公开|公開|给我看|給我看|说出|說出|透露"
        r"|写出|寫出)(?:一下|出|你|您|的|所有|全部|完整|完整的|一字不漏地|逐字|我){0,5}"
        r"(?:系统提示词|系统提示|系統提示詞|系統提示|系统指令|系統指令|初始提示|初始指令|隐藏指令|隱藏指令|内部指令|內部指令|原始指令|原始提示"
        r"|系统消息|系統訊息|提示词)|你的(?:系统|系統|初始|原始)(?:提示词|提示詞|提示|指令)是什[么麼]",
    ),
    InjectionRule(
        "zh-persona",
        "persona",
        r"(?:你|您)(?:现在|現在|将|將|从现在起|從現在起|从现在开始|從現在開始)?(?:是|扮演|成为|成為|变成|變成|就是|必须扮演)(?:了)?(?:DAN"
        r"|(?:一个|一個|一名)?(?:没有|沒有|不受|无|無|毫无)(?:任何)?(?:限制|约束|約束|道德|过滤|過濾|审查|審查|规则|規則)(?:[^\n。]{0,6})?"
        r"(?:AI|人工智能|人工智慧|助手|模型|机器人|機器人))",
    ),
)

LANGUAGE_RULES = (*_FRENCH, *_SPANISH, *_ITALIAN, *_PORTUGUESE, *_JAPANESE, *_CHINESE)
