"""Patterns of secrets, in RE2's syntax; secret_scanner says what they are for, and where they come from."""

from __future__ import annotations

_W = r"[A-Za-z0-9_\-]"
_H = r"[0-9a-f]"
_A = r"[A-Za-z0-9]"

PROVIDERS = (
    rf"hf_{_A}{{30,40}}|gsk_{_A}{{40,60}}|xai-{_A}{{60,90}}|r8_{_A}{{37}}|sk-or-v1-{_H}{{64}}|pplx-{_A}{{40,60}}"
    rf"|nvapi-{_W}{{60,70}}|csk-[a-z0-9]{{48}}|tgp_v1_{_W}{{40,50}}|fw_{_A}{{22,28}}|sk-lf-{_H}{{8}}-[0-9a-f\-]{{27}}"
    rf"|lsv2_(?:pt|sk)_{_H}{{32}}_{_H}{{10}}|jina_{_A}{{60}}|pcsk_{_W}{{60,80}}|voyage-{_W}{{40,50}}|pa-{_W}{{43}}"
    rf"|tvly-(?:dev-|prod-)?{_A}{{20,40}}|fc-{_H}{{32}}|sk_{_H}{{48}}|key_{_H}{{64}}|e2b_{_H}{{40}}"
    rf"|sk-helicone-(?:[a-z0-9]{{7}}-){{3}}[a-z0-9]{{7}}|vck_{_A}{{40,60}}|ABSK[A-Za-z0-9+/]{{80,180}}={{0,2}}"
)
PACKAGES = (
    rf"npm_{_A}{{36}}|pypi-AgE{_W}{{50,200}}|rubygems_{_H}{{48}}|dckr_(?:pat|oat)_{_W}{{27,32}}|cio{_A}{{32}}"
    r"|oy2[a-z0-9]{43}"
)
SERVICES = (
    rf"pg_(?:live|test|tmp)_{_A}{{16,80}}"
    rf"|SG\.{_W}{{20,24}}\.{_W}{{39,50}}|SK{_H}{{32}}|\d{{8,10}}:AA{_W}{{33}}|do[opr]_v1_{_H}{{64}}"
    rf"|[MNO]{_W}{{23,25}}\.{_W}{{6}}\.{_W}{{27,38}}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32}}|sq0(?:atp|csp|idp)-{_W}{{22,43}}"
    rf"|key-{_H}{{32}}|{_H}{{32}}-us\d{{1,2}}|NRAK-[A-Z0-9]{{27}}|dapi{_H}{{32}}(?:-\d)?|lin_api_{_A}{{40}}|ntn_{_A}{{40,50}}"
    rf"|ATATT3{_W}{{100,210}}(?:=[0-9A-F]{{8}})?|hv[sb]\.{_W}{{24,200}}|glsa_{_A}{{32}}_{_H}{{8}}|sntrys_{_W}{{60,200}}|dp\.(?:pt|st|ct)\.{_W}{{40,60}}"
    rf"|PMAK-{_H}{{24}}-{_H}{{34}}|HRKU-{_W}{{36,70}}|sbp_{_H}{{40}}|AGE-SECRET-KEY-1[0-9A-Z]{{58}}|EAA[A-Z]{_A}{{60,220}}"
    rf"|GR1348941{_W}{{20}}|discord(?:app)?\.com/api/webhooks/\d{{17,20}}/{_W}{{60,72}}|glc_[A-Za-z0-9+/]{{40,200}}={{0,2}}"
    rf"|secret_{_A}{{43}}|pat{_A}{{14}}\.{_H}{{64}}|sl\.(?:u\.)?{_W}{{120,160}}|\d/\d{{16}}:{_H}{{32}}|EAAA{_W}{{60}}"
    rf"|access_token\$(?:production|sandbox)\$[a-z0-9]{{16}}\${_H}{{32}}|{_A}{{14}}\.atlasv1\.{_W}{{60,70}}|CCI(?:PAT|PRJ)_{_A}{{20,24}}_{_H}{{40}}"
    rf"|bkua_{_H}{{40}}|sq[apu]_{_H}{{40}}|pat-(?:na|eu|ap)\d-{_H}{{8}}-[0-9a-f\-]{{27}}|tskey-[a-z]{{3,7}}-{_A}{{10,20}}-{_A}{{20,40}}"
    rf"|re_{_A}{{8}}_{_A}{{24}}|vc[pirak]_{_A}{{40,60}}|napi_[a-z0-9]{{50,70}}|sb_secret_{_W}{{22}}_{_W}{{8}}|pscale_(?:tkn|pw|oauth)_{_W}{{32,64}}"
    rf"|fm[12]_[A-Za-z0-9+/]{{100,200}}={{0,2}}|PK[A-Z0-9]{{18}}|figd_{_W}{{40,50}}|phc?x?_{_A}{{40,50}}|rdme_[a-z0-9]{{70}}|tfp_{_W}{{50,70}}|pul-{_H}{{40}}"
)
NAMES = (
    # A variable of the environment: ASSEMBLYAI_KEY.
    r"(?:\b[A-Z][A-Z0-9_]{1,30}_KEY\b|"
    r"(?i:\b[A-Za-z0-9_.\-]{0,30}(?:api[_\-]?key|access[_\-]?key|secret[_\-]?key|auth[_\-]?key|private[_\-]?key"
    r"|encryption[_\-]?key|signing[_\-]?key|account[_\-]?key|token|secret|passw(?:or)?d|passwort|kennwort|passphrase|pwd"
    r"|credentials?|auth))[A-Za-z0-9_]{0,12})"
)
GIVEN = r"[\"'`\]]{0,2}\s{0,3}(?::=|=>|=|:)\s{0,3}[\"'`]{0,1}"
VALUE = r"[A-Za-z0-9+/_.~!@#$%^&*?\-]{8,200}={0,2}"
# "my password is …", in words.
SAID = (
    r"(?i:\b(?:passwords?|passwort|kennwort|passphrase|mot de passe|contraseña|senha|wachtwoord)|密码|密碼|パスワード"
    r"|비밀번호)"
    r"(?:(?:\s{0,3}(?:is|ist|lautet|est|es|é|è|:|：|是|为|為|は)){1,2}\s{0,3}(?:[\"'`]|“|„|«)?| (?:[\"'`]|“|„|«))"
)
BEARER = r"(?i:\bbearer|\bssws|\bbasic|\bx-api-key:) {1,3}[A-Za-z0-9+/=_.~\-]{16,200}"
ADO = (
    r"(?i:\b(?:server|data source|host|addr(?:ess)?|accountname|endpoint)) ?=[^;=\n]{1,100};"
    r"(?:[^;\n]{0,60};){0,8}?\s?(?i:password|pwd|accountkey|sharedaccesskey) ?=[^;\s\"']{3,128}"
)

AWS_SECRET = (
    rf"(?i:\b[a-z0-9_]{{0,16}}(?:aws|amazon|secret))[A-Za-z0-9_ .\-]{{0,30}}{GIVEN}"
    r"[A-Za-z0-9/+]{40}(?:[^A-Za-z0-9/+=]|\z)"
)
OPENAI = rf"\bsk-(?:proj|svcacct|service|admin|None)-{_W}{{20,180}}|\bsk-{_A}{{20,80}}\b"
GITHUB = rf"\bgh[pousr]_{_A}{{36,251}}|\bgithub_pat_[A-Za-z0-9_]{{36,90}}"
GITLAB = rf"\bgl(?:pat|dt|ptt|rt|agent|oas|cbt|ft|imt|soat|ffct)-{_W}{{20,60}}(?:\.[0-9a-z]{{2}}\.[0-9a-z]{{7,10}})?"
SLACK = (
    rf"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9\-]{{10,180}}|\bxapp-\d-[A-Z0-9]{{8,14}}-\d{{8,14}}-{_A}{{40,80}}"
    r"|\bhooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,120}"
)
GOOGLE = rf"\b(?:AIza{_W}{{35}}|GOCSPX-{_W}{{28}}|ya29\.{_W}{{20,200}}|AQ\.Ab{_W}{{40,60}}|1//0[0-9]{_W}{{60,120}})"
AZURE = (
    rf"\b(?i:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{{43,86}}={{1,2}}|\b{_A}{{3}}\dQ~[A-Za-z0-9_~.\-]{{31,34}}"
    rf"|\b{_A}{{52}}JQQJ99[A-Z]{{2}}{_A}{{24}}|\b{_A}{{76}}AZDO{_A}{{4}}\b"
    r"|\bsig=[A-Za-z0-9%+/]{40,70}(?:%3D|=)"
)
ANTHROPIC = rf"\bsk-ant-{_W}{{20,180}}"
STRIPE = rf"\b[rs]k_(?:live|test)_{_A}{{16,200}}|\bwhsec_[A-Za-z0-9+/]{{24,64}}=?"
JWT = rf"\beyJ{_W}{{8,}}\.{_W}{{2,}}\.{_W}*"
