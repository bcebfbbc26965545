// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

struct ProxyCall {
    uint8 typeCode;
    address to;
    uint256 value;
    bytes data;
}

interface IProxyWallet {
    function proxy(ProxyCall[] calldata calls) external;
}

/// @title Lets a key's proxy wallet act: the key itself calls, or the relay hub on its behalf, which appends the key to the call.
/// @notice Our own program, with the calls of Polymarket's proxy wallet factory; the wallet must stand already. Placed with anvil_setCode.
contract ProxyFactory {
    error NoWallet();

    address private constant RELAY_HUB = 0xD216153c06E857cD7f72665E0aF1d7D82172F494;
    /// Of the creation code of Polymarket's clones: it decides where a key's wallet stands.
    bytes32 private constant INIT_CODE_HASH = 0xd21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b;

    function proxy(ProxyCall[] calldata calls) external {
        address wallet = walletOf(_sender());
        if (wallet.code.length == 0) revert NoWallet();
        IProxyWallet(wallet).proxy(calls);
    }

    function walletOf(address owner) public view returns (address) {
        bytes32 salt = keccak256(abi.encodePacked(owner));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), salt, INIT_CODE_HASH)))));
    }

    function _sender() private view returns (address) {
        return msg.sender == RELAY_HUB ? address(bytes20(msg.data[msg.data.length - 20:])) : msg.sender;
    }
}
