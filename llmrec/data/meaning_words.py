"""Words for what columns hold, in English, German, French, Spanish and Chinese, and in the formats of other libraries.

Folded as `meanings.folded` does: without accents, spaces and case.
"""

from __future__ import annotations

from llmrec.data.columns import EVENT_ALIASES, ITEM_ALIASES, LESSER_ALIASES, OF_REVIEWS


def _words(text: str) -> list[str]:
    return text.split()


# Before or behind a noun, they make it an id.
_ID = _words(
    "id ids nr no num number nummer code key kennung ref reference identifier identifiant numero n nro cod codigo clave idx "
    "index 编号 编码 号 代码 号码 标识"
)
_USER = _words(
    "user customer client member visitor buyer shopper household reviewer account usr cust "
    "kunde kunden kundin kaufer besucher mitglied mitglieds benutzer nutzer haushalt haushalts kd kdn "
    "utilisateur acheteur membre visiteur compte cliente usuario comprador miembro socio visitante "
    "客户 顾客 用户 会员 买家 消费者"
)
_ITEM = _words(
    "item product article movie book track song prod "
    "artikel produkt produkte waren ware film buch art material "
    "produit articulo producto libro "
    "商品 产品 货品 物品 宝贝"
)
_BASKET = _words(
    "order invoice transaction basket receipt bill ticket "
    "bestell bestellung bestellungs auftrag auftrags rechnung rechnungs beleg bon kassenbon warenkorb transaktion "
    "transaktions rg "
    "facture commande panier factura pedido cesta transaccion "
    "订单 发票 交易 单据 小票 购物篮"
)
_SHORT = {
    "usr",
    "cust",
    "kd",
    "kdn",
    "prod",
    "art",
    "material",
    "rg",
    "bestell",
    "rechnungs",
    "auftrags",
    "ticket",
    "account",
    "compte",
}

_TIME = _words(
    "timestamp datetime date time ts day eventtime eventdate createdat created datecreated orderdate orderdatetime "
    "ordertime invoicedate "
    "purchasedate purchasetime transactiondate transactiontime unixreviewtime reviewdate saledate salesdate orderedat "
    "purchasedat boughtat "
    "datum zeit zeitpunkt zeitstempel uhrzeit bestelldatum bestellzeit rechnungsdatum kaufdatum auftragsdatum belegdatum "
    "verkaufsdatum buchungsdatum erstelltam datumuhrzeit datumzeit bewertungsdatum "
    "dateheure heure horodatage datecommande datefacture dateachat datevente datetransaction jour "
    "fecha hora fechahora fechapedido fechacompra fechafactura fechaventa fechatransaccion "
    "日期 时间 时间戳 下单时间 下单日期 订单时间 订单日期 购买时间 购买日期 交易时间 交易日期 "
    "付款时间 支付时间 创建时间 成交时间 日期时间"
)
_RATING = _words(
    "rating ratings stars overall relevance bewertung sterne evaluation etoiles valoracion calificacion puntuacion estrellas "
    "评分 打分 星级"
)
_PRICE = _words(
    "price unitprice itemprice lineitemprice "
    "salesprice saleprice sellingprice productprice preis einzelpreis stuckpreis verkaufspreis "
    "vkpreis artikelpreis preisstuck prix prixunitaire prixvente prixarticle tarif precio preciounitario precioventa "
    "preciounidad 价格 单价 售价 销售价 商品价格"
)
_QUANTITY = _words(
    "quantity qty units lineitemquantity menge anzahl stuck stuckzahl stk bestellmenge quantite qte cantidad unidades cant "
    "数量 件数 购买数量 商品数量"
)
_EVENT_TYPE = _words(
    "eventtype event action behavior behaviour behaviortype interactiontype ereignis ereignistyp ereignisart aktion "
    "evenement typeevenement evento tipoevento accion 行为 行为类型 事件 事件类型 操作类型"
)
_TITLE = _words(
    "title itemname lineitemname producttitle productname articlename movietitle booktitle itemtitle "
    "titel bezeichnung artikelbezeichnung produktbezeichnung artikelname produktname artikeltitel warenbezeichnung "
    "titre designation libelle nomproduit nomarticle libelleproduit libellearticle "
    "titulo nombreproducto nombrearticulo denominacion 商品名称 产品名称 商品名 产品名 商品标题 标题 品名"
)
# The name of whom or what: an item's in a table of items, perhaps a customer's in a table of events.
_NAME = _words("name nom nombre 名称 名字")
_TEXT = _words(
    "text description itemdescription productdescription beschreibung produktbeschreibung artikelbeschreibung langtext "
    "descriptif descripcion 描述 商品描述 产品描述 详情 简介"
)
_CATEGORY = _words(
    "category categoryname productcategory itemcategory kategorie warengruppe produktgruppe artikelgruppe produktkategorie "
    "categorie categorieproduit rayon categoria categoriaproducto 类别 分类 品类 类目 商品类别 商品分类 商品类目"
)
_IMAGE = _words("image imageurl imagepath bild bildurl imagen 图片 图片链接")


def _joined(nouns: list[str], words: list[str]) -> set[str]:
    return {noun + word for noun in nouns for word in words} | {word + noun for noun in nouns for word in words}


def _nouns(nouns: list[str]) -> set[str]:
    return {noun + plural for noun in nouns if noun not in _SHORT for plural in ("", "s")}


def _with_aliases(words: dict[str, tuple[set[str], ...]], table: dict[str, tuple[str, ...]]) -> dict[str, tuple[set[str], ...]]:
    """The words, and among the first of each meaning the names that tables in Python may have."""
    return {ours: (sets[0] | (set(table[ours]) - set(_NAME) - set().union(*sets)), *sets[1:]) for ours, sets in words.items()}


_EMAIL = {"email", "mail", "emailaddress", "customeremail"}  # whose it is, where nothing else says so
_CODES = {"asin", "parentasin", "sku", "lineitemsku", "stockcode", "iid"}  # ids by themselves
_LESSER_CODES = {"ean", "gtin", "isbn", "barcode", "upc"}  # ids where no other is given

# Meaning -> sets of folded names, a better one first: what a name of an earlier set claims, none of a later set does.
_EVENTS: dict[str, tuple[set[str], ...]] = {
    "user_id": (_joined(_USER, _ID) | {"uid", "reviewerid"}, _nouns(_USER), set(LESSER_ALIASES["user_id"]), set(_EMAIL)),
    "item_id": (_joined(_ITEM, _ID) | _CODES, _LESSER_CODES, _nouns(_ITEM)),
    "timestamp": (set(_TIME),),
    "rating": (set(_RATING),),
    "weight": ({"weight"},),
    "event_type": (set(_EVENT_TYPE),),
    "basket_id": (_joined(_BASKET, _ID), _nouns(_BASKET) - {"order", "orders", "bill", "bills"}),
    "scene": ({"scene"},),
    "price": (set(_PRICE),),
    "quantity": (set(_QUANTITY),),
    "title": (set(_TITLE),),
    "text": (set(_TEXT),),
    "category": (set(_CATEGORY),),
}
_ITEMS: dict[str, tuple[set[str], ...]] = {
    "item_id": (*_EVENTS["item_id"][:2], _EVENTS["item_id"][2] | set(_ID)),
    "title": (set(_TITLE), set(_NAME)),
    "text": (set(_TEXT),),
    "category": (set(_CATEGORY),),
    "price": (set(_PRICE),),
    "image": (set(_IMAGE),),
}
EVENT_WORDS = _with_aliases(_EVENTS, EVENT_ALIASES)
ITEM_WORDS = _with_aliases(_ITEMS, ITEM_ALIASES)
ITEM_NOUNS = _nouns(_ITEM)
# Columns of reviews, in whose tables a title or a text is the review's and not the item's.
REVIEW_WORDS = {*OF_REVIEWS, "verified", "summary", "vote"}
