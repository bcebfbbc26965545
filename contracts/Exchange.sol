// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConditionalTokens, IERC1271, IERC20, ISafe} from "./Interfaces.sol";
import {ShareReceiver} from "./ShareReceiver.sol";

/// An order as a trader signs it; `signature` is not part of its hash. Amounts in micro-pUSD and micro-shares.
struct Order {
    uint256 salt;
    address maker;
    address signer;
    uint256 tokenId;
    uint256 makerAmount;
    uint256 takerAmount;
    uint8 side;
    uint8 signatureType;
    uint256 timestamp;
    bytes32 metadata;
    bytes32 builder;
    bytes signature;
}

struct OrderStatus {
    bool filled;
    uint248 remaining;
}

/// @title The paper venue's exchange: settles orders that traders signed and its operator matched.
/// @notice Speaks the public ABI and events of Polymarket's CTF Exchange V2, but is our own program for a local chain:
/// no pause, no preapproval. Never deploy it where money is real.
/// Placed with anvil_setCode at the address that clients sign for: all state is set by initialize, none by a constructor.
contract Exchange is ShareReceiver {
    event OrderFilled(
        bytes32 indexed orderHash,
        address indexed maker,
        address indexed taker,
        uint8 side,
        uint256 tokenId,
        uint256 makerAmountFilled,
        uint256 takerAmountFilled,
        uint256 fee,
        bytes32 builder,
        bytes32 metadata
    );
    event OrdersMatched(
        bytes32 indexed takerOrderHash,
        address indexed takerOrderMaker,
        uint8 side,
        uint256 tokenId,
        uint256 makerAmountFilled,
        uint256 takerAmountFilled
    );
    event FeeCharged(address indexed receiver, uint256 amount);

    error AlreadyInitialized();
    error ComplementaryFillExceedsTakerFill();
    error FeeExceedsProceeds();
    error InvalidSignature();
    error MakingGtRemaining();
    error MismatchedArrayLengths();
    error MismatchedTokenIds();
    error NoMakerOrders();
    error NotCrossing();
    error NotOperator();
    error OrderAlreadyFilled();
    error TooLittleTokensReceived();
    error TransferFailed();
    error ZeroMakerAmount();

    uint8 private constant BUY = 0;
    uint8 private constant EOA = 0;
    uint8 private constant POLY_PROXY = 1;
    uint8 private constant SAFE = 2;
    uint8 private constant ERC1271 = 3;
    address private constant PROXY_FACTORY = 0xaB45c5A4B0c941a2F231C04C3f49182e1A254052;
    /// Of the creation code of Polymarket's proxy wallets: with it, a key's address tells where its proxy wallet stands.
    bytes32 private constant PROXY_INIT_CODE_HASH = 0xd21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b;
    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant ORDER_TYPEHASH = keccak256(
        "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
        "uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
    );

    bytes32 public domainSeparator;
    address public feeReceiver;
    IERC20 private collateral;
    IConditionalTokens private positions;
    mapping(address => bool) public isOperator;
    mapping(bytes32 => OrderStatus) public orderStatus;

    /// What one taker order has given and got over all its makers, in its maker and taker asset.
    struct Totals {
        uint256 spent;
        uint256 received;
    }

    function initialize(
        string calldata version,
        IERC20 collateral_,
        IConditionalTokens positions_,
        address operator,
        address feeReceiver_
    ) external {
        if (domainSeparator != 0) revert AlreadyInitialized();
        domainSeparator = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("Polymarket CTF Exchange"), keccak256(bytes(version)), block.chainid, address(this)
            )
        );
        collateral = collateral_;
        positions = positions_;
        feeReceiver = feeReceiver_;
        isOperator[operator] = true;
        collateral_.approve(address(positions_), type(uint256).max);
    }

    /// Fills are in the maker asset of each order (BUY: pUSD, SELL: shares), fees in pUSD on top of a BUY and out of a SELL's proceeds.
    /// The taker trades at the makers' prices: what a better price leaves of takerFillAmount stays in his wallet.
    function matchOrders(
        bytes32 conditionId,
        Order memory takerOrder,
        Order[] memory makerOrders,
        uint256 takerFillAmount,
        uint256[] memory makerFillAmounts,
        uint256 takerFeeAmount,
        uint256[] memory makerFeeAmounts
    ) external {
        if (!isOperator[msg.sender]) revert NotOperator();
        if (makerOrders.length == 0) revert NoMakerOrders();
        if (makerOrders.length != makerFillAmounts.length || makerOrders.length != makerFeeAmounts.length) revert MismatchedArrayLengths();
        bytes32 takerHash = _consume(takerOrder, takerFillAmount);
        Totals memory totals;
        for (uint256 i = 0; i < makerOrders.length; i++) {
            _matchMaker(conditionId, takerOrder, makerOrders[i], makerFillAmounts[i], makerFeeAmounts[i], totals);
        }
        if (totals.spent > takerFillAmount) revert ComplementaryFillExceedsTakerFill();
        if (totals.received < _counterAmount(takerOrder, takerFillAmount)) revert TooLittleTokensReceived();
        _payTaker(takerOrder, totals.received, takerFeeAmount);
        _emitFilled(takerOrder, takerHash, address(this), totals.spent, totals.received, takerFeeAmount);
        emit OrdersMatched(takerHash, takerOrder.maker, takerOrder.side, takerOrder.tokenId, totals.spent, totals.received);
    }

    function hashOrder(Order memory order) public view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                ORDER_TYPEHASH,
                order.salt,
                order.maker,
                order.signer,
                order.tokenId,
                order.makerAmount,
                order.takerAmount,
                order.side,
                order.signatureType,
                order.timestamp,
                order.metadata,
                order.builder
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
    }

    function getOrderStatus(bytes32 orderHash) external view returns (OrderStatus memory) {
        return orderStatus[orderHash];
    }

    /// Checks the signature and takes `fill` from what is left of the order: the replay protection.
    function _consume(Order memory order, uint256 fill) private returns (bytes32 orderHash) {
        if (order.makerAmount == 0 || fill == 0) revert ZeroMakerAmount();
        if (order.makerAmount > type(uint248).max) revert MakingGtRemaining();
        orderHash = hashOrder(order);
        if (!_isSignedBy(order, orderHash)) revert InvalidSignature();
        OrderStatus storage status = orderStatus[orderHash];
        if (status.filled) revert OrderAlreadyFilled();
        uint256 remaining = status.remaining == 0 ? order.makerAmount : status.remaining;
        if (fill > remaining) revert MakingGtRemaining();
        status.remaining = uint248(remaining - fill);
        status.filled = fill == remaining;
    }

    function _matchMaker(
        bytes32 conditionId,
        Order memory taker,
        Order memory maker,
        uint256 making,
        uint256 fee,
        Totals memory totals
    ) private {
        if ((taker.side == maker.side) == (taker.tokenId == maker.tokenId)) revert MismatchedTokenIds();
        if (!_isCrossing(taker, maker)) revert NotCrossing();
        bytes32 makerHash = _consume(maker, making);
        uint256 taking = _counterAmount(maker, making);
        if (maker.side != BUY && fee > taking) revert FeeExceedsProceeds();
        if (taker.side != maker.side) _swap(taker, maker, making, taking, fee, totals);
        else if (taker.side == BUY) _mint(conditionId, taker, maker, making, taking, totals);
        else _merge(conditionId, taker, maker, making, taking, fee, totals);
        if (maker.side == BUY) _pull(maker.maker, feeReceiver, fee);
        if (fee > 0) emit FeeCharged(feeReceiver, fee);
        _emitFilled(maker, makerHash, taker.maker, making, taking, fee);
    }

    /// BUY against SELL of one token: the two wallets trade with each other. A selling taker's money waits here for his fee.
    function _swap(Order memory taker, Order memory maker, uint256 making, uint256 taking, uint256 fee, Totals memory totals) private {
        if (taker.side == BUY) {
            _pull(taker.maker, maker.maker, taking - fee);
            _pull(taker.maker, feeReceiver, fee);
            positions.safeTransferFrom(maker.maker, taker.maker, maker.tokenId, making, "");
        } else {
            _pull(maker.maker, address(this), making);
            positions.safeTransferFrom(taker.maker, maker.maker, maker.tokenId, taking, "");
        }
        totals.spent += taking;
        totals.received += making;
    }

    /// BUY YES against BUY NO: their money together becomes `taking` new pairs of shares.
    function _mint(bytes32 conditionId, Order memory taker, Order memory maker, uint256 making, uint256 taking, Totals memory totals)
        private
    {
        _pull(maker.maker, address(this), making);
        _pull(taker.maker, address(this), taking - making);
        positions.splitPosition(address(collateral), bytes32(0), conditionId, _yesAndNo(), taking);
        positions.safeTransferFrom(address(this), maker.maker, maker.tokenId, taking, "");
        positions.safeTransferFrom(address(this), taker.maker, taker.tokenId, taking, "");
        totals.spent += taking - making;
        totals.received += taking;
    }

    /// SELL YES against SELL NO: `making` pairs of shares become money again.
    function _merge(
        bytes32 conditionId,
        Order memory taker,
        Order memory maker,
        uint256 making,
        uint256 taking,
        uint256 fee,
        Totals memory totals
    ) private {
        positions.safeTransferFrom(maker.maker, address(this), maker.tokenId, making, "");
        positions.safeTransferFrom(taker.maker, address(this), taker.tokenId, making, "");
        positions.mergePositions(address(collateral), bytes32(0), conditionId, _yesAndNo(), making);
        _push(maker.maker, taking - fee);
        _push(feeReceiver, fee);
        totals.spent += making;
        totals.received += making - taking;
    }

    /// A buying taker already has his shares; a selling one gets here what his makers paid, less the fee.
    function _payTaker(Order memory taker, uint256 received, uint256 fee) private {
        if (taker.side == BUY) {
            _pull(taker.maker, feeReceiver, fee);
        } else {
            if (fee > received) revert FeeExceedsProceeds();
            _push(taker.maker, received - fee);
            _push(feeReceiver, fee);
        }
        if (fee > 0) emit FeeCharged(feeReceiver, fee);
    }

    function _emitFilled(Order memory order, bytes32 orderHash, address counterparty, uint256 making, uint256 taking, uint256 fee)
        private
    {
        emit OrderFilled(
            orderHash, order.maker, counterparty, order.side, order.tokenId, making, taking, fee, order.builder, order.metadata
        );
    }

    function _pull(address from, address to, uint256 amount) private {
        if (amount > 0 && !collateral.transferFrom(from, to, amount)) revert TransferFailed();
    }

    function _push(address to, uint256 amount) private {
        if (amount > 0 && !collateral.transfer(to, amount)) revert TransferFailed();
    }

    function _isSignedBy(Order memory order, bytes32 orderHash) private view returns (bool) {
        if (order.signatureType == ERC1271) {
            return order.maker == order.signer
                && IERC1271(order.maker).isValidSignature(orderHash, order.signature) == IERC1271.isValidSignature.selector;
        }
        if (order.signer == address(0) || _recover(orderHash, order.signature) != order.signer) return false;
        if (order.signatureType == EOA) return order.maker == order.signer;
        if (order.signatureType == POLY_PROXY) return order.maker == _proxyWalletOf(order.signer);
        return order.signatureType == SAFE && ISafe(order.maker).isOwner(order.signer);
    }

    function _proxyWalletOf(address signer) private pure returns (address) {
        bytes32 salt = keccak256(abi.encodePacked(signer));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", PROXY_FACTORY, salt, PROXY_INIT_CODE_HASH)))));
    }

    function _recover(bytes32 digest, bytes memory signature) private pure returns (address) {
        if (signature.length != 65) return address(0);
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
        if (uint256(s) > HALF_CURVE_ORDER) return address(0);
        return ecrecover(digest, v, r, s);
    }

    /// What an order gets for `fill` of its maker asset: rounded down, as the venue does.
    function _counterAmount(Order memory order, uint256 fill) private pure returns (uint256) {
        return fill * order.takerAmount / order.makerAmount;
    }

    /// Prices as fractions, compared without division: buy >= sell; two buys >= 1 together; two sells <= 1 together.
    function _isCrossing(Order memory a, Order memory b) private pure returns (bool) {
        if (a.side != b.side) return a.makerAmount * b.makerAmount >= a.takerAmount * b.takerAmount;
        if (a.side == BUY) return a.makerAmount * b.takerAmount + b.makerAmount * a.takerAmount >= a.takerAmount * b.takerAmount;
        return a.takerAmount * b.makerAmount + b.takerAmount * a.makerAmount <= a.makerAmount * b.makerAmount;
    }

    function _yesAndNo() private pure returns (uint256[] memory partition) {
        partition = new uint256[](2);
        (partition[0], partition[1]) = (1, 2);
    }
}
