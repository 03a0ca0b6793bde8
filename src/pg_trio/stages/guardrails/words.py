"""Words that tell the meaning of a number beside them. Lower case, UTF-8; mostly English and German, and the most
common ones of a dozen other languages.

A missing word causes a false alarm or a miss. The two corpora of tests/recordings/guardrails decide which words belong
here.
"""

from __future__ import annotations


def _words(*texts: str) -> frozenset[bytes]:
    """As bytes, which change the case of ASCII letters alone: with large letters of other kinds, too (`tÉlÉphone`)."""
    words = " ".join(texts).split()
    return frozenset(word.encode() for word in words) | {word.upper().encode().lower() for word in words}


# Between a name and its number: "order number is …", "Bestellung Nr. …", "tickets … and …".
CONNECTORS = _words(
    "number numbers no nos n nr num nbr nummer nummern numero número numéro n is was are be the and or und oder et y e",
    "to bis ist lautet war est es of for von der die das le la el il new old current ref with value field s",
    "号码 号碼 號碼 番号 番號 번호 号码是 號碼是 番号は 번호는",
)

# A full stop after one of these ends no sentence.
ABBREVIATIONS = _words(
    "no nos nr nrn num nbr núm inv ref refs art tel tél telef fig sec ver vers rev ext ord cust acct acc ser tkt cat",
    "mod st mr mrs ms dr prof op cit approx ca inc str pos lfd bzw kd kto rg best az tab abs abb kap ch pp vol ed eds",
    "dept mob cel cell fon hr fr bes betr pol buchungs auftr rechn lief chg cf vgl eg ie etc max min avg ph soc",
)

# A number after one of these identifies a thing, not a person's telephone or card.
ID_WORDS = _words(
    "inv entry entries id ids uid gid pid oid uuid guid key keys hash sha checksum crc digest nonce seed token",
    "order orders invoice invoices ticket tickets part parts item items product sku upc ean gtin isbn issn asin",
    "imei imsi iccid meid vin serial sn lot batch po rma so bol awb waybill tracking shipment parcel",
    "consignment barcode article account acct policy claim case docket incident issue bug pr ref reference",
    "booking reservation confirmation transaction txn trace span request session job task build commit revision",
    "rev version release model mpn fcc cas doi pmid pmcid arxiv page pages row rows line lines record records",
    "document doc file img image dsc photo frame packet block offset address addr ptr pointer memory counter",
    "count total size length bytes port zone timestamp epoch unix time ts int uint max min long float double",
    "uint32 int32 int64 uint64 user userid msg message event log error err code errno exception status asset",
    "license licence patent permit registration reg tax vat ein tin abn acn hrb hra hrn steuernummer steuer ust",
    "ustid iban bic swift blz konto kontonr vertrag vertragsnr police bestellung bestellnr auftrag auftragsnr",
    "rechnung rechnungsnr rg vorgang vorgangsnr artikel artikelnr teil teilenr kunde kundennr mitglied",
    "mitgliedsnr sendung paket seriennr charge aktenzeichen az lieferschein beleg belegnr matrikel matrikelnr",
    "aktennr fall meldung störung zähler zählernr zählerstand gerät geräte chargen personalnr commande facture",
    "colis dossier référence série pedido factura artículo serie expediente ordine fattura articolo pratica",
    "spedizione factuur bestelling klantnummer meter reading score points level iphone ipad android firmware",
    "chip vendor device hardware node host sector lba inode dpi rfc fedex ups usps dhl dpd gls hermes iso din",
    "coupon voucher wavelengths references referenz refs referenznr warranty receipt quittung antrag antragsnr",
    "formular dossiers matter contract contracts contrat contrato contratto polizza póliza sinistre siniestro",
    "schaden schadennr member membership subscription customerid clientid cliente klant student employee badge",
    "patient chart mrn nhs insurance versicherung passport ausweis plate kennzeichen vehicle fahrgestell",
    "chassis engine seat train zug wagen container pallet cargo lieferung delivery envío envio expédition",
    "warehouse bin shelf stock inventory inventar machine maschine unit module component bauteil spare",
    "ersatzteil catalog catalogue katalog style modell modèle modelo modello series edition volume vol band",
    "heft verse psalm paragraph para exhibit annex equation eq question frage aufgabe story epic sprint",
    "milestone change chg inc problem prb ritm sctask wo rfq rfp quote angebot offer oferta devis offerte bid",
    "tender auction listing mls deed court gericht register siren siret nif cif kvk cnpj cpf cuit rut gst gstin",
    "pin otp codes passcode password cookie cursor tx wallet slot height gas wei seq sequence ack vlan asn",
    "subnet channel freq frequency gps elevation pixel sample run experiment trial nct subject specimen gene",
    "strain label tag rfid epc sscc gln hs hts tariff nsn ndc exp ec einecs ticketid orderno invoiceno partno",
    "serialno caseno trackingnumber remessa remesa guía guia bordereau bon commandes factures pratiche fatture",
    "pedidos facturas zamówienie faktura fakturanr ordrenr ordernr kvitto saksnr sak kundenr objednávka číslo",
    "zakázka tilaus lasku rendelés számla comanda sipariş fatura заказ заказа счет счёт тикет накладная 订单 订单号",
    "发票 注文番号 注文 伝票 주문 송장",
    "suivi seguimiento rastreio rastreamento tracciamento incidencia incidente snowflake",
    "guarantee certificate cert zertifikat bescheid beschluss rollnr buchung buchungsnr",
    "buchungscode reservierung spur builds jobs pipeline workflow tasks thread process proc worker pod instance",
    "cluster shard partition topic queue bucket object blob files folder path",
)
# Endings of compounds: Kundennummer, Seriennummer, ordernumber. Telephone words are checked first.
ID_ENDINGS = tuple(
    word.encode() for word in ("nummer", "nummern", "ordernumber", "invoicenumber", "serialnumber", "nr", "barcode")
)

# The same in scripts without spaces, whose words may end with a particle ("is").
_NUMBERS_OF_THINGS = ("号", "號", "号码", "号碼", "號碼", "番号", "番號", "编号", "編號", "コード", "번호")
_PARTICLES = ("", "は", "が", "是", "为", "為", "는", "은")
ID_ENDINGS_CJK = tuple(f"{word}{particle}".encode() for word in _NUMBERS_OF_THINGS for particle in _PARTICLES)
# These are telephones' as often as not: "my number is", "this number", "the emergency number"; and number alone.
_OWNERS = (
    *(
        "我的",
        "あなたの",
        "你的",
        "您的",
        "他的",
        "她的",
        "们的",
        "們的",
        "私の",
        "僕の",
        "俺の",
        "自分の",
        "彼の",
        "彼女の",
    ),
    *(
        "这个",
        "這個",
        "联系",
        "聯絡",
        "紧急",
        "緊急",
        "連絡",
        "拨打",
        "撥打",
        "こちらの",
        "この",
        "次の",
        "下記の",
        "会社の",
        "自宅の",
    ),
)
_NUMBERS = ("号", "号码", "号碼", "號碼", "番号", "番號", "번호")
OWN_NUMBERS = tuple(
    f"{owner}{number}{particle}".encode() for owner in _OWNERS for number in _NUMBERS for particle in _PARTICLES
)
NUMBERS_ALONE = frozenset(f"{number}{particle}".encode() for number in _NUMBERS[1:] for particle in _PARTICLES)
# But these numbers are a person's.
PERSONAL_SIGNS = tuple(
    word.encode()
    for word in (
        "区号",
        "區號",
        "国コード",
        "国番号",
        "社保",
        "社会保障",
        "身份",
        "护照",
        "護照",
        "パスポート",
        "マイナンバー",
        "税",
        "卡",
        "カード",
        "카드",
    )
)
CARD_SIGNS = tuple(word.encode() for word in ("信用卡", "银行卡", "銀行卡", "卡号", "卡號", "カード", "카드"))
# These are people or places: only the word number beside them makes an id of theirs ("customer number").
PARTIES = _words(
    "customer customers client clients buyer supplier subscriber fournisseur proveedor fornitore lieferant",
    "station",
)
OF_WORDS = _words("of de del do da di du des van von vom der le la el il")
NUMBER_WORDS = _words("number no nr num nbr nummer nummern numero número numéro n")

# A number after one of these is a telephone number, with up to two other words between ("Phone (John Smith): …").
PHONE_WORDS = _words(
    "phone phones telephone telephones tel tél télé tele telefon telefone telefono teléfono teléfonos téléphone",
    "phonenumber telf tfno tlf tfn ph fon fono fax faxes telefax mobil mobiltelefon mobilfunk mobilnummer mobilnr",
    "handynummer handynr telefonnummer telefonnr telnr faxnummer rufnummer rufnr festnetz festnetznummer hotline",
    "whatsapp sms cellphone phoneno móvil movil celular cellulare gsm landline voicemail pager helpline switchboard",
    "telefoonnummer telefoon mobiel msisdn homephone workphone mobilephone contactphone userphone durchwahl",
    "rückrufnummer telefonisch телефон тел telegram puhelin telefonul telefonu telefonní komórka komorka",
    "numertelefonu facsimile",
)
# Anywhere in a word of a script without spaces: 电话号码是.
_PHONE_SIGNS = (
    *("電話", "电话", "手机", "手機", "携帯", "行動", "座机", "传真", "傳真", "ファックス", "連絡先", "联系方式"),
    *("聯絡方式", "致电", "致電", "拨打", "撥打", "전화", "휴대폰", "핸드폰", "연락처", "팩스"),
)
PHONE_SIGNS = tuple(word.encode() for word in _PHONE_SIGNS)
# For patterns.
PHONE_SIGNS_PATTERN = "|".join(_PHONE_SIGNS)
# These mean a telephone only right before the number, or with plain words between ("call me at …").
CALL_WORDS = _words(
    "call calling called ring dial text texting reach contact cell cellular mobile mob handy portable office home",
    "work desk direct anrufen ruf rufen erreichbar erreichen erreichst melden appeler appelez joindre llamar llame",
    "llámame chiamare chiama chiamami bellen bel signal t m f p h c tl hp o",
)
# "messages to", "not answering at": only with such a word between, and for a number with gaps.
ANSWER_WORDS = _words("answer answering answers message messages")
CALL_CONNECTORS = CONNECTORS | _words(
    "me us him her them at on via under unter an auf using by back now please directly today tonight tomorrow anytime",
    "my our your his their mein meine meiner deine ihre unsere mich uns ihn sie au a à al alla op this that following",
    "here hier line private business emergency work home day evening office direct main am pm between before after",
)
# "my number is …": the owner makes it a telephone number.
POSSESSIVES = _words(
    "my your his her our their mein meine deine ihre seine unsere mon ma votre son mi su tu mio mia tua"
)

CARD_WORDS = _words(
    "card cards cc visa mastercard master amex american express discover diners jcb maestro unionpay credit debit pan",
    "karte kreditkarte kreditkartennummer kartennummer carte tarjeta carta creditcard cardnumber cardno kaart credito",
    "crédito crédit bancaire debitkarte pay payment paid charge charged kartennr",
)

# Units after a number; with one it is not a telephone number.
UNITS = _words(
    "byte bytes kb mb gb tb kib mib gib bit bits ms µs us ns sec secs seconds px pt em eur euro euros usd dollar",
    "dollars gbp chf points punkte pts rows zeilen records items stück units pcs users views hits kwh wh mah mw kw hz",
    "khz mhz ghz kg km cm mm rpm ppm iterations steps tokens words characters requests followers likes subscribers",
    "people residents total nm",
)
