"""METER: conversion of official checkpoints to our parameters and back."""
