"""Rules of `prompt_injection` in French, Spanish, Italian and Portuguese.

For each language: to ignore earlier instructions, to tell the prompt, and to be without rules.
"""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_OBJECT = HarmlessPlace.OBJECT
# An order's beginning: with a subject in front ("mi hijo ignora …") the same form of a verb tells something.
_LEAD = (
    r"(?:\A|[.!?:;,¡¿\"«(\n]\s{0,3}|\b(?:y|e|ora|ahora|agora|por favor|per favore|ent[ãa]o|allora|entonces|luego|poi"
    r"|adesso|depois|after|then|please|and|o|ou|de|di|must|debes|devi|deve),? )"
)

_FRENCH: tuple[InjectionRule, ...] = (
    InjectionRule(
        "fr-ignore",
        "override",
        r"\b(?:ignore[rz]?|oublie[rz]?|n[ée]glige[rz]?|ne (?:tiens|tenez) (?:pas|plus) compte"
        r" (?:de|des)|ne (?:suis|suivez) (?:pas|plus)"
        r"|fais abstraction (?:de|des)|faites abstraction (?:de|des)|fais fi (?:de"
        r"|des)|passe outre) (?:(?:toutes?|tous|les|tes|vos|ces|de|des|le|la|l) |l['’]){0,4}"
        r"(?:(?:pr[ée]c[ée]dent[a-zà-ž]*|ancien[a-zà-ž]*) )?(?:instructions?|consignes?|directives?"
        r"|r[èe]gles?|ordres?|messages?|invites?)"
        r" (?:pr[ée]c[ée]dent[a-zà-ž]*|ant[ée]rieur[a-zà-ž]*|ci-dessus|initiale?s?|(?:qui )?pr[ée]c[èe]dent"
        r"|(?:du )?syst[èe]me|(?:qui )?(?:t['’]ont|vous ont) [ée]t[ée] donn[ée][a-zà-ž]*"
        r"|re[çc]u[a-zà-ž]*|(?:que )?(?:tu as|vous avez) re[çc]u[a-zà-ž]*)",
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
        "fr-above",
        "override",
        r"\b(?:ignore[rz]?|oublie[rz]?|ne (?:tiens|tenez) (?:pas|plus) compte (?:de"
        r"|d['’])|fais abstraction (?:de|d['’])) ?(?:tout )?"
        r"(?:ce qui (?:pr[ée]c[èe]de|a [ée]t[ée] (?:dit|[ée]crit)|est (?:au-dessus"
        r"|ci-dessus|plus haut))|ce que (?:je|l['’]on|on) [a-zà-ž]+ (?:dit|avant))"
        r"|\b(?:ne (?:respecte|suis|suivez|respectez) (?:plus|pas)|n['’]ob[ée]i(?:s"
        r"|ssez) (?:plus|pas) (?:aux|[àa])|ignore[rz]?|oublie[rz]?)"
        r" (?:(?:toutes?|tous|les|tes|vos|ces|aux) ){0,3}(?:instructions?|consignes?|directives?|r[èe]gles?)"
        r" (?:(?:donn|fourni|re[çc]u|[ée]tabli)[a-zà-ž]* )?(?:pr[ée]c[ée]demment|pr[ée]c[ée]dentes?"
        r"|auparavant|jusqu['’]ici|plus haut|avant (?:ce|cela|ça))",
        _OBJECT,
    ),
    InjectionRule(
        "fr-all-rules",
        "override",
        r"\b(?:ignore[rz]?|oublie[rz]?|contourne[rz]?|d[ée]sactive[rz]?) (?:(?:toutes"
        r"|tous) )(?:les |tes |vos )?(?:r[èe]gles|instructions|consignes|directives"
        r"|restrictions)"
        r"(?:[.!?,;:]|\z|\n| et | pour | puis )",
    ),
    InjectionRule(
        "fr-repeat-above",
        "reveal",
        r"\b(?:r[ée]p[èe]te|affiche|recopie|imprime)[rz]? (?:(?:tout|mot pour mot) )?(?:le texte"
        r"|les mots|tout|le contenu|ce qui est (?:[ée]crit )?) ?(?:ci-dessus|au-dessus"
        r"|plus haut|qui pr[ée]c[èe]de)"
        r"|\b(?:r[ée]v[èe]le|affiche|montre|donne|divulgue)(?:[rz]|-moi| moi)? (?:ton|votre) prompt\b",
    ),
    InjectionRule(
        "fr-free",
        "persona",
        r"\b(?:tu n['’]as|vous n['’]avez|tu n['’]es|vous n['’][êe]tes) (?:d[ée]sormais "
        r"|maintenant )?plus (?:aucune?|de|soumise? [àa] (?:aucune?|des)|li[ée]e? par (?:aucune?"
        r"|des|tes)) (?:[a-zà-ž]+ )?(?:restriction|limite|r[èe]gle|filtre|contrainte)[a-zà-ž]*"
        r"(?:[.!?,;:]|\z|\n| et | y | e )",
    ),
    InjectionRule(
        "fr-reveal",
        "reveal",
        r"\b(?:montre|affiche|r[ée]v[èe]le|donne|r[ée]p[èe]te|imprime|divulgue|[ée]cris"
        r"|dis|quel(?:le)?s? (?:est|sont|[ée]taient))(?:[- ](?:moi|nous))? (?:(?:l['’]int[ée]gralit[ée]"
        r" de|le texte de|mot pour mot|exactement|tout) )?"
        r"(?:ton|ta|tes|votre|vos|le|les) (?:(?:propre|premier|premi[èe]re)s? )?(?:prompt"
        r"|message|invite|instructions?|consignes?|directives?) (?:(?:du |de )?syst[èe]me"
        r"|initial[a-zà-ž]*|cach[ée][a-zà-ž]*|secr[èe]t[a-zà-ž]*|interne[a-zà-ž]*|de d[ée]part|d['’]origine)",
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
    InjectionRule(
        "fr-no-limits",
        "persona",
        r"\b(?:fais|faites) comme si (?:tu|vous) (?:n['’]av(?:ais|iez)|[ée]t(?:ais"
        r"|iez) (?:libre|sans)) (?:plus )?(?:aucune?|pas de|de) "
        r"(?:restriction|limite|r[èe]gle|filtre|censure|contrainte)",
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
        r" (?:anterior[a-zà-ž]*|previ[ao]s?|de arriba|iniciales|(?:del |de )?sistema|precedentes"
        r"|(?:que )?(?:te|has|hayas|le|se te) (?:[a-zà-ž]+ ){0,2}(?:dado|dieron|recibido"
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
        "es-above",
        "override",
        r"\b(?:ignor(?:a|e|en|ar)|olvid(?:a|e|ar)|olv[ií]date de|descarta|haz caso omiso de"
        r"|no (?:tengas|tenga) en cuenta) (?:todo )?"
        r"(?:lo (?:anterior|de arriba|que (?:est[áa] (?:arriba|antes)|se (?:dijo|ha dicho) (?:antes"
        r"|anteriormente)))|cuanto (?:antecede|se ha dicho))\b",
        _OBJECT,
    ),
    InjectionRule(
        "es-all-rules",
        "override",
        rf"{_LEAD}(?:ignor(?:a|e|en)|olvid(?:a|e|en)|olv[ií]date de|s[áa]ltate|desactiva) (?:todas"
        r" )(?:las |tus |sus )?(?:reglas|instrucciones|directrices|restricciones|normas)(?:[.!?,;:]"
        r"|\z|\n| y )",
    ),
    InjectionRule(
        "es-repeat-above",
        "reveal",
        r"\b(?:repite|repita|copia|imprime|muestra|escribe) (?:(?:todo|exactamente) )?(?:el texto"
        r"|las palabras|todo lo|el contenido) (?:anterior|de arriba|que (?:est[áa] arriba"
        r"|precede))"
        r"|\b(?:revela|muestra|dime|dame|ens[ée][ñn]ame|mu[ée]strame|divulga) (?:tu|su) prompt\b",
    ),
    InjectionRule(
        "es-free",
        "persona",
        r"\b(?:ya no tienes|no tienes ya|ya no est[áa]s (?:sujeto|limitado|sometido) (?:a"
        r"|por)|est[áa]s libre de) (?:ninguna? |ning[úu]n |tus |las |m[áa]s )?(?:restricci"
        r"|l[íi]mite|regla|filtro|norma)[a-zà-ž]*(?:[.!?,;:]|\z|\n| et | y | e )"
        r"|\bfinge (?:que eres|ser) (?:una? )?(?:ia|inteligencia artificial|asistente) sin ",
    ),
    InjectionRule(
        "es-reveal",
        "reveal",
        r"\b(?:mu[ée]stra(?:me|nos)?|revela(?:me)?|di(?:me)?|dame|repite|imprime|escribe"
        r"|ens[ée][ñn]ame|divulga|cu[áa]l(?:es)? (?:es|son|eran)) (?:(?:todo|exactamente"
        r"|el texto de|palabra por palabra) )?(?:tus?|el|las|sus?) "
        r"(?:prompt|mensaje|instrucci[óo]n|instrucciones|indicaciones|directrices) (?:(?:del"
        r" |de )?sistema|inicial[a-zà-ž]*|ocult[ao]s?|secret[ao]s?|intern[ao]s?|original[a-zà-ž]*)",
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
        r"|messaggi) ?){1,2}(?:precedent[a-zà-ž]*|anterior[a-zà-ž]*|inizial[a-zà-ž]*|(?:qui )?sopra"
        r"|(?:di |del )?sistema|(?:che (?:hai|ti) )?(?:ricevut[a-zà-ž]*|(?:sono state )?dat[a-zà-ž]*)"
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
        "it-above",
        "override",
        r"\b(?:ignora(?:te|re)?|dimentica(?:te|re)?|trascura|non considerare) (?:(?:tutto"
        r"|tutte|tutti) )?(?:quanto (?:sopra|precede|detto|scritto)"
        r"|ci[òo] che (?:precede|[èe] (?:stato )?(?:detto|scritto)|ti [èe] stato detto)"
        r"|quello che (?:precede|[èe] (?:stato )?(?:detto|scritto)))"
        r"|\b(?:ignora(?:te|re)?|dimentica(?:te|re)?) (?:(?:tutte|le|ogni|qualsiasi"
        r"|tutti|gli|i) ){0,3}(?:istruzion[ei]|indicazion[ei]|regol[ae]|direttiv[ae]"
        r"|comand[oi]|ordin[ei])"
        r" (?:di prima|precedent[ei]|anterior[ei]|date (?:prima|finora)|ricevut[ae]|qui sopra|sopra)\b",
        _OBJECT,
    ),
    InjectionRule(
        "it-all-rules",
        "override",
        rf"{_LEAD}(?:ignora(?:te)?|dimentica(?:te)?|disattiva) (?:tutte )(?:le |le tue )?(?:regole"
        r"|istruzioni|direttive|restrizioni)(?:[.!?,;:]|\z|\n| e )",
    ),
    InjectionRule(
        "it-repeat-above",
        "reveal",
        r"\b(?:ripeti|copia|stampa|mostra|scrivi) (?:(?:tutto|esattamente) )?(?:il testo"
        r"|le parole|tutto ci[òo] che [èe]|il contenuto) (?:qui )?(?:sopra|precedente"
        r"|che precede)"
        r"|\b(?:rivela|mostra(?:mi)?|dimmi|dammi|divulga) (?:il (?:tuo|vostro)) prompt\b",
    ),
    InjectionRule(
        "it-free",
        "persona",
        r"\bnon (?:hai|sei) pi[ùu] (?:alcuna? |nessuna? |soggetto a |limitato da "
        r"|vincolato (?:a|da) )?(?:restrizion|limit|regol|filtr|vincol)[a-zà-ž]*(?:[.!?,;:]|\z|\n| et | y | e )"
        r"|\bf(?:ingi|ai finta) di essere un(?:a|['’])? ?(?:ia|intelligenza artificiale|assistente) senza ",
    ),
    InjectionRule(
        "it-reveal",
        "reveal",
        r"\b(?:mostra(?:mi|ci)?|rivela(?:mi)?|dimmi|dammi|ripeti|stampa|scrivi|divulga"
        r"|qual [èe]|quali (?:sono|erano)) (?:(?:tutto|esattamente|il testo del|parola per parola)"
        r" )?(?:il|le|la|i) (?:tu[oae]i? )?(?:prompt|messaggio|istruzioni|direttive"
        r"|indicazioni) "
        r"(?:(?:di |del )?sistema|inizial[a-zà-ž]*|nascost[a-zà-ž]*|segret[a-zà-ž]*"
        r"|intern[a-zà-ž]*|original[a-zà-ž]*)",
        _OBJECT,
    ),
    InjectionRule(
        "it-persona",
        "persona",
        r"\b(?:(?:ora )?sei|agisci come|comportati come|f(?:ingi|ai finta) di essere|da (?:ora"
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
        r"|mensagens) (?:anterior[a-zà-ž]*|pr[ée]vi[ao]s|acima|iniciais|(?:do |de )?sistema"
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
        "pt-above",
        "override",
        r"\b(?:ignor(?:e|a|em|ar)|esque[çc]a|desconsidere|descarte) (?:tudo )?(?:o que (?:foi"
        r" (?:dito|escrito) (?:antes|acima|anteriormente)|veio antes|est[áa] acima"
        r"|precede)"
        r"|tudo (?:acima|o que (?:foi|veio|est[áa])))",
        _OBJECT,
    ),
    InjectionRule(
        "pt-all-rules",
        "override",
        rf"{_LEAD}(?:ignor(?:e|a)|esque[çc](?:a|e)|desative|desconsidere) (?:todas )(?:as "
        r"|as suas |suas )?(?:regras|instru[cç][õo]es|diretrizes|restri[cç][õo]es)(?:[.!?,;:]"
        r"|\z|\n| e )",
    ),
    InjectionRule(
        "pt-repeat-above",
        "reveal",
        r"\b(?:repita|copie|imprima|mostre|escreva|exiba) (?:(?:todo|exatamente) )?(?:o texto"
        r"|as palavras|tudo o que est[áa]|o conte[úu]do) (?:acima|anterior|que precede)"
        r"|\b(?:revele|mostre|diga|exiba|divulgue)(?:-me)? (?:o )?(?:seu|teu) prompt\b",
    ),
    InjectionRule(
        "pt-free",
        "persona",
        r"\b(?:voc[êe] |tu )?n[ãa]o (?:tem|tens|possui|est[áa]) mais (?:nenhuma? "
        r"|sujeito a |limitado por )?(?:restri|limit|regra|filtro)[a-zà-ž]*(?:[.!?,;:]|\z|\n| et | y | e )"
        r"|\bfinja (?:que (?:voc[êe] )?[ée]|ser) (?:uma? )?(?:ia|intelig[êe]ncia artificial|assistente) sem ",
    ),
    InjectionRule(
        "pt-reveal",
        "reveal",
        r"\b(?:mostr[ea](?:-me)?|revel[ea](?:-me)?|me (?:mostre|diga|d[êe])|diga(?:-me)?"
        r"|repita|imprima|escreva|divulgue|exiba|qua(?:l|is) (?:[ée]|s[ãa]o|eram)) (?:(?:todo"
        r"|exatamente|o texto d[oe]|palavra por palavra) )?(?:o|as|os|a) (?:(?:seus?"
        r"|suas?|teus?|tuas?) )?"
        r"(?:prompt|mensagem|instru[cç][õo]es|diretrizes|orienta[cç][õo]es) (?:(?:do "
        r"|de )?sistema|inicia[a-zà-ž]+|ocult[ao]s?|secret[ao]s?|intern[ao]s?|origina[a-zà-ž]+)",
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

# What speakers of these languages call it, too.
_SYSTEM_PROMPT = InjectionRule(
    "your-system-prompt",
    "reveal",
    r"\b(?:montre|affiche|r[ée]v[èe]le|donne|r[ée]p[èe]te|quel est|c['’]est quoi"
    r"|mu[ée]stra|revela|dime|dame|repite|cu[áa]l es|mostra|rivela"
    r"|dimmi|dammi|ripeti|qual [èe]|mostre|revele|diga|repita|exiba|qual [ée])[a-zà-ž]*(?:[- ]"
    r"(?:moi|nous|me|nos))? (?:[a-zà-ž]+ ){0,4}?"
    r"(?:ton|votre|tu|su|il tuo|tuo|o seu|seu|teu|o teu) (?:propre |propio |proprio |pr[óo]prio )?system[ -]?prompt",
    _OBJECT,
)

ROMANCE_RULES: tuple[InjectionRule, ...] = (_SYSTEM_PROMPT, *_FRENCH, *_SPANISH, *_ITALIAN, *_PORTUGUESE)
